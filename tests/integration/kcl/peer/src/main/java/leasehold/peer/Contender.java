package leasehold.peer;

import java.nio.file.Path;
import software.amazon.kinesis.coordinator.NoOpWorkerStateChangeListener;

/**
 * A contender of the benchmarks: {@code --mode kcl|kinesis|dynamodb --counter <file> --touch payload|untouched|images},
 * and what {@link Peer} takes. It reads a stream for ever, until it is killed.
 */
public final class Contender {
    private Contender() {}

    public static void main(String[] arguments) throws Exception {
        Options options = new Options(arguments);
        Slots slots = new Slots(Path.of(options.text("counter")));
        switch (options.text("mode")) {
            case "kinesis" -> new Loops(options, slots).kinesis();
            case "dynamodb" -> new Loops(options, slots).dynamodb();
            case "kcl" -> Peer.scheduler(
                    options, new Source(options), () -> new Counted(slots), new NoOpWorkerStateChangeListener()).run();
            default -> throw new IllegalArgumentException("--mode is kcl, kinesis or dynamodb.");
        }
    }
}
