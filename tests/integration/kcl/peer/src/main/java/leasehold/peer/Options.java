package leasehold.peer;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** The command line: {@code --name value} pairs; {@code --set} may repeat. */
final class Options {
    private final Map<String, String> values = new HashMap<>();
    private final List<String> settings = new ArrayList<>();

    Options(String[] arguments) {
        for (int place = 0; place < arguments.length; place += 2) {
            String name = arguments[place];
            if (!name.startsWith("--") || place + 1 == arguments.length) {
                throw new IllegalArgumentException(name + " is no option with a value.");
            }
            if (name.equals("--set")) {
                settings.add(arguments[place + 1]);
            } else {
                values.put(name.substring(2), arguments[place + 1]);
            }
        }
    }

    String text(String name) {
        String value = values.get(name);
        if (value == null) {
            throw new IllegalArgumentException("--" + name + " is missing.");
        }
        return value;
    }

    String text(String name, String otherwise) {
        return values.getOrDefault(name, otherwise);
    }

    /** Settings of the KCL as {@code part.name=value}, in their order. */
    List<String> settings() {
        return settings;
    }
}
