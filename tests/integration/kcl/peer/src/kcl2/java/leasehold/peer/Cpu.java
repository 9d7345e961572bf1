package leasehold.peer;

import software.amazon.kinesis.leases.LeaseManagementConfig;

/** This generation of the KCL reports no worker metrics. */
final class Cpu {
    private Cpu() {}

    static void publish(LeaseManagementConfig lease, double percent) {
        throw new IllegalArgumentException("--cpu: a KCL 2.x reports no worker metrics.");
    }
}
