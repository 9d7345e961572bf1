package leasehold.peer;

import java.net.URI;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.coordinator.CoordinatorConfig;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.leases.LeaseManagementConfig;
import software.amazon.kinesis.metrics.MetricsConfig;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.processor.StreamTracker;
import software.amazon.kinesis.retrieval.RetrievalConfig;
import software.amazon.kinesis.retrieval.RetrievalSpecificConfig;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/** A Kinesis stream, read by polling. */
final class Source {
    private final String stream;
    private final KinesisAsyncClient kinesis;

    Source(Options options) {
        stream = options.text("stream");
        // As the KCL's own KinesisClientUtil has it, but that the local servers speak HTTP/1.1 only.
        kinesis = KinesisAsyncClient.builder()
                .endpointOverride(URI.create(options.text("stream-endpoint")))
                .region(Peer.region(options))
                .credentialsProvider(Peer.CREDENTIALS)
                .httpClientBuilder(NettyNioAsyncHttpClient.builder()
                        .maxConcurrency(Integer.MAX_VALUE).protocol(Protocol.HTTP1_1))
                .build();
    }

    KinesisAsyncClient kinesis() {
        return kinesis;
    }

    StreamTracker tracker(InitialPositionInStreamExtended position) {
        return new SingleStreamTracker(stream, position);
    }

    RetrievalSpecificConfig polling() {
        return new PollingConfig(stream, kinesis);
    }

    Orders orders(Report report, String checkpoints) {
        return new Orders(report, checkpoints);
    }

    Scheduler scheduler(ConfigsBuilder configs, CoordinatorConfig coordinator, LeaseManagementConfig lease,
            MetricsConfig metrics, RetrievalConfig retrieval) {
        return new Scheduler(configs.checkpointConfig(), coordinator, lease, configs.lifecycleConfig(), metrics,
                configs.processorConfig(), retrieval);
    }
}
