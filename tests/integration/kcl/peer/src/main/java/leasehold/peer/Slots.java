package leasehold.peer;

import java.io.IOException;
import java.nio.ByteOrder;
import java.nio.LongBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.function.IntToLongFunction;

/**
 * The counts of a benchmark's contender, in a file that the driver maps as well: for each shard eight bytes, how many of
 * its records were handed over. Record i of a shard carries i; the first that doesn't makes its slot negative for good.
 */
final class Slots {
    private final LongBuffer counts;

    Slots(Path path) throws IOException {
        try (FileChannel file = FileChannel.open(path, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            counts = file.map(FileChannel.MapMode.READ_WRITE, 0, file.size())
                    .order(ByteOrder.LITTLE_ENDIAN).asLongBuffer();
        }
    }

    /** The shard's place: the digits of its id. */
    static int of(String shardId) {
        return Integer.parseInt(shardId.split("-")[1]);
    }

    /** Counts a batch of {@code size} records, {@code numbers} being what each carries. */
    void handOver(int slot, int size, IntToLongFunction numbers) {
        long count = counts.get(slot);
        if (count < 0) {
            return;
        }
        for (int place = 0; place < size; place++) {
            long number = numbers.applyAsLong(place);
            if (number != count + place) {
                System.err.println("Slot " + slot + ": record " + number + " came as " + (count + place) + ".");
                counts.put(slot, -1 - count);
                return;
            }
        }
        counts.put(slot, count + size);
    }
}
