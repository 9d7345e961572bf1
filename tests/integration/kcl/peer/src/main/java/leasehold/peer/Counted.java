package leasehold.peer;

import java.nio.ByteBuffer;
import java.util.List;
import software.amazon.kinesis.exceptions.InvalidStateException;
import software.amazon.kinesis.exceptions.ShutdownException;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.retrieval.KinesisClientRecord;

/** A benchmark's processor: looks at the number that begins each payload, counts, and checkpoints once a second. */
final class Counted implements ShardRecordProcessor {
    private static final int DIGITS = 12;
    private static final long CHECKPOINT_NANOS = 1_000_000_000L;

    private final Slots slots;
    private int slot;
    private long stored = System.nanoTime();

    Counted(Slots slots) {
        this.slots = slots;
    }

    /** The number that a payload begins with. */
    static long number(ByteBuffer payload) {
        long number = 0;
        int start = payload.position();
        for (int place = start; place < start + DIGITS; place++) {
            number = number * 10 + (payload.get(place) - '0');
        }
        return number;
    }

    @Override
    public void initialize(InitializationInput input) {
        slot = Slots.of(input.shardId());
    }

    @Override
    public void processRecords(ProcessRecordsInput input) {
        List<KinesisClientRecord> records = input.records();
        slots.handOver(slot, records.size(), place -> number(records.get(place).data()));
        if (records.isEmpty() || System.nanoTime() - stored < CHECKPOINT_NANOS) {
            return;
        }
        try {
            input.checkpointer().checkpoint();
        } catch (ShutdownException | InvalidStateException error) {
            throw new IllegalStateException(error);
        }
        stored = System.nanoTime();
    }

    @Override
    public void leaseLost(LeaseLostInput input) {
        System.err.println("Slot " + slot + ": its lease was lost.");
    }

    @Override
    public void shardEnded(ShardEndedInput input) {}

    @Override
    public void shutdownRequested(ShutdownRequestedInput input) {}
}
