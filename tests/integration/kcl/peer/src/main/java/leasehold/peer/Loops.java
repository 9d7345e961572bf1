package leasehold.peer;

import java.math.BigDecimal;
import java.net.URI;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import software.amazon.awssdk.services.dynamodb.model.AttributeValue;
import software.amazon.awssdk.services.dynamodb.streams.DynamoDbStreamsClient;
import software.amazon.awssdk.services.kinesis.KinesisClient;

/** Loops over the SDK's synchronous clients with their defaults: each shard in turn, a page at a time, for ever. */
final class Loops {
    private static final int LIMIT = 1000;
    private static final int DIGITS = 12;
    private static final long NUMBER_BASE = 100_000_000_000L;

    private final Options options;
    private final Slots slots;

    Loops(Options options, Slots slots) {
        this.options = options;
        this.slots = slots;
    }

    void kinesis() {
        String stream = options.text("stream");
        KinesisClient client = KinesisClient.builder().endpointOverride(endpoint())
                .region(Peer.region(options)).credentialsProvider(Peer.CREDENTIALS).build();
        List<Shard> shards = new ArrayList<>();
        client.listShards(request -> request.streamName(stream)).shards().forEach(each -> shards.add(new Shard(
                each.shardId(),
                client.getShardIterator(request -> request.streamName(stream).shardId(each.shardId())
                        .shardIteratorType("TRIM_HORIZON")).shardIterator())));
        forEver(shards, shard -> {
            var page = client.getRecords(request -> request.shardIterator(shard.iterator()).limit(LIMIT));
            var records = page.records();
            slots.handOver(shard.slot(), records.size(),
                    place -> Counted.number(records.get(place).data().asByteBuffer()));
            return new Shard(shard.id(), page.nextShardIterator());
        });
    }

    void dynamodb() {
        String arn = options.text("stream");
        boolean readsImages = options.text("touch").equals("images");
        DynamoDbStreamsClient client = DynamoDbStreamsClient.builder().endpointOverride(endpoint())
                .region(Peer.region(options)).credentialsProvider(Peer.CREDENTIALS).build();
        List<Shard> shards = new ArrayList<>();
        client.describeStream(request -> request.streamArn(arn)).streamDescription().shards()
                .forEach(each -> shards.add(new Shard(
                        each.shardId(),
                        client.getShardIterator(request -> request.streamArn(arn).shardId(each.shardId())
                                .shardIteratorType("TRIM_HORIZON")).shardIterator())));
        forEver(shards, shard -> {
            var page = client.getRecords(request -> request.shardIterator(shard.iterator()).limit(LIMIT));
            var records = page.records();
            slots.handOver(shard.slot(), records.size(), place -> {
                var record = records.get(place).dynamodb();
                if (readsImages) {
                    return ((BigDecimal) values(record.newImage()).get("n")).longValueExact() - NUMBER_BASE;
                }
                String mark = record.sequenceNumber();
                return Long.parseLong(mark, mark.length() - DIGITS, mark.length(), 10);
            });
            return new Shard(shard.id(), page.nextShardIterator());
        });
    }

    private record Shard(String id, String iterator) {
        int slot() {
            return Slots.of(id);
        }
    }

    private static void forEver(List<Shard> shards, UnaryOperator<Shard> read) {
        while (true) {
            shards.replaceAll(read);
        }
    }

    /** An image in Java's own types. */
    private static Map<String, Object> values(Map<String, AttributeValue> image) {
        Map<String, Object> found = new HashMap<>();
        image.forEach((name, value) -> found.put(name, value(value)));
        return found;
    }

    private static Object value(AttributeValue value) {
        return switch (value.type()) {
            case S -> value.s();
            case N -> new BigDecimal(value.n());
            case BOOL -> value.bool();
            case M -> values(value.m());
            default -> throw new IllegalStateException("The benchmarks' images hold no " + value.type() + ".");
        };
    }

    private URI endpoint() {
        return URI.create(options.text("stream-endpoint"));
    }
}
