package leasehold.peer;

import java.util.List;
import software.amazon.kinesis.leases.LeaseManagementConfig;
import software.amazon.kinesis.worker.metric.OperatingRange;
import software.amazon.kinesis.worker.metric.WorkerMetric;
import software.amazon.kinesis.worker.metric.WorkerMetricType;

/** A CPU that is always as busy as told, so that what a leader makes of it can be foretold. */
final class Cpu implements WorkerMetric {
    private final double percent;

    private Cpu(double percent) {
        this.percent = percent;
    }

    static void publish(LeaseManagementConfig lease, double percent) {
        lease.workerUtilizationAwareAssignmentConfig().workerMetricList(List.of(new Cpu(percent)));
    }

    @Override
    public String getShortName() {
        return WorkerMetricType.CPU.getShortName();
    }

    @Override
    public WorkerMetricValue capture() {
        return WorkerMetricValue.builder().value(percent).build();
    }

    @Override
    public OperatingRange getOperatingRange() {
        return OperatingRange.builder().maxUtilization(100).build();
    }

    @Override
    public WorkerMetricType getWorkerMetricType() {
        return WorkerMetricType.CPU;
    }
}
