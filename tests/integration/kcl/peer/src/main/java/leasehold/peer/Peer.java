package leasehold.peer;

import java.net.URI;
import java.time.Instant;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.coordinator.CoordinatorConfig;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.coordinator.WorkerStateChangeListener;
import software.amazon.kinesis.leases.LeaseManagementConfig;
import software.amazon.kinesis.metrics.MetricsConfig;
import software.amazon.kinesis.metrics.MetricsLevel;
import software.amazon.kinesis.processor.ShardRecordProcessorFactory;
import software.amazon.kinesis.retrieval.RetrievalConfig;

/**
 * A consumer on the real KCL against local servers.
 *
 * <p>{@code --app --worker --stream --table-endpoint --stream-endpoint}, and where wished {@code --table --region
 * --position TRIM_HORIZON|LATEST|<epoch seconds> --checkpoint batch|prepare|middle|never --cpu <percent> --clock-ahead
 * <seconds> --set <part>.<setting>=<value>}. SIGTERM shuts it down gracefully.
 */
public final class Peer {
    private static final long GRACE_SECONDS = 90;

    private Peer() {}

    public static void main(String[] arguments) throws Exception {
        Options options = new Options(arguments);
        Report report = new Report(Double.parseDouble(options.text("clock-ahead", "0")));
        Source source = new Source(options);
        Scheduler scheduler = scheduler(options, source,
                () -> source.orders(report, options.text("checkpoint", "batch")), new States(report));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(scheduler, report), "stop"));
        report.tell("started", "", 0, options.text("worker"));
        scheduler.run();
        report.tell("ended", "", 0, options.text("worker"));
    }

    static final StaticCredentialsProvider CREDENTIALS =
            StaticCredentialsProvider.create(AwsBasicCredentials.create("local", "local"));

    static Region region(Options options) {
        return Region.of(options.text("region", "us-east-1"));
    }

    static Scheduler scheduler(Options options, Source source, ShardRecordProcessorFactory orders,
            WorkerStateChangeListener states) throws ReflectiveOperationException {
        URI tables = URI.create(options.text("table-endpoint"));
        Region region = region(options);
        DynamoDbAsyncClient dynamo = DynamoDbAsyncClient.builder()
                .endpointOverride(tables).region(region).credentialsProvider(CREDENTIALS).build();
        CloudWatchAsyncClient cloudWatch = CloudWatchAsyncClient.builder()
                .endpointOverride(tables).region(region).credentialsProvider(CREDENTIALS).build();
        ConfigsBuilder configs = new ConfigsBuilder(
                source.tracker(position(options.text("position", "TRIM_HORIZON"))),
                options.text("app"), source.kinesis(), dynamo, cloudWatch, options.text("worker"), orders);
        configs.tableName(options.text("table", options.text("app")));
        CoordinatorConfig coordinator = configs.coordinatorConfig();
        coordinator.workerStateChangeListener(states);
        LeaseManagementConfig lease = configs.leaseManagementConfig();
        RetrievalConfig retrieval = configs.retrievalConfig();
        retrieval.retrievalSpecificConfig(source.polling());
        MetricsConfig metrics = configs.metricsConfig().metricsLevel(MetricsLevel.NONE);
        String cpu = options.text("cpu", "");
        if (!cpu.isEmpty()) {
            Cpu.publish(lease, Double.parseDouble(cpu));
        }
        Map<String, Object> parts = new LinkedHashMap<>();
        parts.put("coordinator", coordinator);
        parts.put("lease", lease);
        parts.put("retrieval", retrieval);
        parts.put("polling", retrieval.retrievalSpecificConfig());
        Settings settings = new Settings(parts);
        for (String assignment : options.settings()) {
            settings.apply(assignment);
        }
        return source.scheduler(configs, coordinator, lease, metrics, retrieval);
    }

    private static InitialPositionInStreamExtended position(String text) {
        if (text.equals("TRIM_HORIZON") || text.equals("LATEST")) {
            return InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.valueOf(text));
        }
        return InitialPositionInStreamExtended.newInitialPositionAtTimestamp(
                Date.from(Instant.ofEpochMilli(Math.round(Double.parseDouble(text) * 1000))));
    }

    private static void stop(Scheduler scheduler, Report report) {
        Future<Boolean> stopping = scheduler.startGracefulShutdown();
        try {
            report.tell("stopped", "", 0, String.valueOf(stopping.get(GRACE_SECONDS, TimeUnit.SECONDS)));
        } catch (TimeoutException | ExecutionException | InterruptedException error) {
            report.tell("stopped", "", 0, error.toString());
        }
    }
}
