package leasehold.peer;

import com.amazonaws.services.dynamodbv2.streamsadapter.AmazonDynamoDBStreamsAdapterClient;
import com.amazonaws.services.dynamodbv2.streamsadapter.StreamsSchedulerFactory;
import com.amazonaws.services.dynamodbv2.streamsadapter.adapter.DynamoDBStreamsClientRecord;
import com.amazonaws.services.dynamodbv2.streamsadapter.model.DynamoDBStreamsProcessRecordsInput;
import com.amazonaws.services.dynamodbv2.streamsadapter.polling.DynamoDBStreamsPollingConfig;
import com.amazonaws.services.dynamodbv2.streamsadapter.processor.DynamoDBStreamsShardRecordProcessor;
import java.net.URI;
import software.amazon.awssdk.services.dynamodb.model.StreamRecord;
import software.amazon.awssdk.services.dynamodb.streams.DynamoDbStreamsClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.coordinator.CoordinatorConfig;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.leases.LeaseManagementConfig;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.metrics.MetricsConfig;
import software.amazon.kinesis.processor.StreamTracker;
import software.amazon.kinesis.retrieval.KinesisClientRecord;
import software.amazon.kinesis.retrieval.RetrievalConfig;
import software.amazon.kinesis.retrieval.RetrievalSpecificConfig;

/** A table's stream through the DynamoDB Streams adapter. */
final class Source {
    private final String streamArn;
    private final Options options;
    private final AmazonDynamoDBStreamsAdapterClient adapter;

    Source(Options options) {
        this.options = options;
        streamArn = options.text("stream");
        DynamoDbStreamsClient streams = DynamoDbStreamsClient.builder()
                .endpointOverride(URI.create(options.text("stream-endpoint")))
                .region(Peer.region(options))
                .credentialsProvider(Peer.CREDENTIALS)
                .build();
        adapter = new AmazonDynamoDBStreamsAdapterClient(streams, Peer.region(options));
    }

    KinesisAsyncClient kinesis() {
        return adapter;
    }

    StreamTracker tracker(InitialPositionInStreamExtended position) {
        return StreamsSchedulerFactory.createSingleStreamTracker(streamArn, position);
    }

    RetrievalSpecificConfig polling() {
        return new DynamoDBStreamsPollingConfig(streamArn, adapter);
    }

    Orders orders(Report report, String checkpoints) {
        return new TableOrders(report, checkpoints);
    }

    Scheduler scheduler(ConfigsBuilder configs, CoordinatorConfig coordinator, LeaseManagementConfig lease,
            MetricsConfig metrics, RetrievalConfig retrieval) {
        return StreamsSchedulerFactory.createScheduler(configs.checkpointConfig(), coordinator, lease,
                configs.lifecycleConfig(), metrics, configs.processorConfig(), retrieval, adapter);
    }

    private static final class TableOrders extends Orders implements DynamoDBStreamsShardRecordProcessor {
        TableOrders(Report report, String checkpoints) {
            super(report, checkpoints);
        }

        @Override
        Change change(KinesisClientRecord record) {
            StreamRecord image = ((DynamoDBStreamsClientRecord) record).getRecord().dynamodb();
            return new Change(image.keys().get("pk").s(), Long.parseLong(image.newImage().get("version").n()));
        }

        @Override
        public void processRecords(ProcessRecordsInput input) {
            DynamoDBStreamsShardRecordProcessor.super.processRecords(input);
        }

        @Override
        public void processRecords(DynamoDBStreamsProcessRecordsInput input) {
            give(input.records(), input.checkpointer());
        }
    }
}
