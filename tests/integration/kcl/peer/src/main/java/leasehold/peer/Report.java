package leasehold.peer;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.math.BigDecimal;
import java.math.RoundingMode;
import java.nio.charset.StandardCharsets;
import java.time.Instant;

/**
 * What the processors were told, a JSON array a line on standard output:
 * {@code [at, kind, shard, tenure, number, key, version]}, as the Python workers of these tests report it.
 *
 * <p>A batch is one write, made before its callback goes on: what a killed peer was given is known to the last record.
 */
final class Report {
    private final OutputStream out = new FileOutputStream(FileDescriptor.out);
    private final double ahead;
    private final long startedNanos = System.nanoTime();
    private final double startedWall;

    /** {@code ahead}: seconds to add to the wall clock for the clock that all members of the fleet share. */
    Report(double ahead) {
        this.ahead = ahead;
        Instant now = Instant.now();
        startedWall = now.getEpochSecond() + now.getNano() / 1e9;
    }

    synchronized void write(String lines) {
        try {
            out.write(lines.getBytes(StandardCharsets.UTF_8));
        } catch (IOException error) {
            // Nobody reads what this peer does any more: it is no use to anyone.
            Runtime.getRuntime().halt(3);
        }
    }

    String line(String kind, String shard, long tenure, String number, String key, long version) {
        double at = ahead + startedWall + (System.nanoTime() - startedNanos) / 1e9;
        String when = BigDecimal.valueOf(at).setScale(6, RoundingMode.HALF_UP).toPlainString();
        return "[" + when + "," + quoted(kind) + "," + quoted(shard) + "," + tenure + "," + number + "," + quoted(key)
                + "," + version + "]\n";
    }

    void tell(String kind, String shard, long tenure, String key) {
        write(line(kind, shard, tenure, "0", key, 0));
    }

    private static String quoted(String text) {
        return "\"" + text.replace("\\", "\\\\").replace("\"", "\\\"") + "\"";
    }
}
