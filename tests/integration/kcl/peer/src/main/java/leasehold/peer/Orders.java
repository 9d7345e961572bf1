package leasehold.peer;

import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import software.amazon.kinesis.exceptions.InvalidStateException;
import software.amazon.kinesis.exceptions.ShutdownException;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.processor.RecordProcessorCheckpointer;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.retrieval.KinesisClientRecord;
import software.amazon.kinesis.retrieval.kpl.ExtendedSequenceNumber;

/**
 * Reports every call. It checkpoints as told: {@code batch} after each batch; {@code prepare}: only prepares, until the
 * shard ends; {@code middle}: at the middle record of a batch, which may lie inside a KPL aggregate; {@code never}.
 */
class Orders implements ShardRecordProcessor {
    private static final AtomicLong TENURES = new AtomicLong();

    private final Report report;
    private final String checkpoints;
    private final long tenure = TENURES.incrementAndGet();
    private String shard = "";

    Orders(Report report, String checkpoints) {
        this.report = report;
        this.checkpoints = checkpoints;
    }

    /** A record as it was written: its key, and the version that its data or image carries. */
    record Change(String key, long version) {}

    Change change(KinesisClientRecord record) {
        byte[] bytes = new byte[record.data().remaining()];
        record.data().duplicate().get(bytes);
        return new Change(record.partitionKey(), Long.parseLong(new String(bytes).strip()));
    }

    @Override
    public void initialize(InitializationInput input) {
        shard = input.shardId();
        report.tell("initialize", shard, tenure, position(input.extendedSequenceNumber()));
        if (input.pendingCheckpointSequenceNumber() != null) {
            report.tell("pending", shard, tenure, position(input.pendingCheckpointSequenceNumber()));
        }
    }

    @Override
    public void processRecords(ProcessRecordsInput input) {
        give(input.records(), input.checkpointer());
    }

    void give(List<? extends KinesisClientRecord> records, RecordProcessorCheckpointer checkpointer) {
        if (records.isEmpty()) {
            return;
        }
        StringBuilder lines = new StringBuilder(report.line("batch", shard, tenure, "0", "", 0));
        for (KinesisClientRecord each : records) {
            Change change = change(each);
            lines.append(report.line("record", shard, tenure, each.sequenceNumber(), change.key(), change.version()));
        }
        report.write(lines.toString());
        KinesisClientRecord middle = records.get(Math.min(records.size() / 2 + 1, records.size() - 1));
        KinesisClientRecord last = records.get(records.size() - 1);
        switch (checkpoints) {
            case "batch" -> store(checkpointer::checkpoint);
            case "middle" -> store(() -> checkpointer.checkpoint(middle.sequenceNumber(), middle.subSequenceNumber()));
            case "prepare" -> store(() -> checkpointer.prepareCheckpoint(
                    last.sequenceNumber(), last.subSequenceNumber(), "half way".getBytes()));
            default -> { }
        }
    }

    @Override
    public void leaseLost(LeaseLostInput input) {
        report.tell("lease_lost", shard, tenure, "");
    }

    @Override
    public void shardEnded(ShardEndedInput input) {
        report.tell("shard_ended", shard, tenure, "");
        store(input.checkpointer()::checkpoint);
    }

    @Override
    public void shutdownRequested(ShutdownRequestedInput input) {
        report.tell("shutdown_requested", shard, tenure, "");
        if (checkpoints.equals("batch")) {
            store(input.checkpointer()::checkpoint);
        }
    }

    private interface Write {
        void run() throws InvalidStateException, ShutdownException;
    }

    /** A checkpoint refused because the lease is gone is part of the game; everything else is the KCL's to log. */
    private void store(Write write) {
        try {
            write.run();
        } catch (ShutdownException error) {
            report.tell("checkpoint_refused", shard, tenure, "");
        } catch (InvalidStateException error) {
            throw new IllegalStateException(error);
        }
    }

    private static String position(ExtendedSequenceNumber number) {
        return number.sequenceNumber() + "/" + number.subSequenceNumber();
    }
}
