package leasehold.peer;

import software.amazon.kinesis.coordinator.WorkerStateChangeListener;

/** Reports the states of the KCL's worker: INITIALIZING, STARTED, SHUT_DOWN_STARTED, SHUT_DOWN. */
final class States implements WorkerStateChangeListener {
    private final Report report;

    States(Report report) {
        this.report = report;
    }

    @Override
    public void onWorkerStateChange(WorkerState state) {
        report.tell("state", "", 0, state.name());
    }

    @Override
    public void onAllInitializationAttemptsFailed(Throwable error) {
        report.tell("state", "", 0, "gave up: " + error);
    }
}
