package leasehold.peer;

import java.lang.reflect.Method;
import java.time.Duration;
import java.util.Map;

/** Sets the KCL's own settings by their names, {@code lease.failoverTimeMillis=2000}, whatever this version calls them. */
final class Settings {
    private final Map<String, Object> parts;

    Settings(Map<String, Object> parts) {
        this.parts = parts;
    }

    /** Carries out one assignment; a name that this version doesn't have is an error. */
    void apply(String assignment) throws ReflectiveOperationException {
        String[] sides = assignment.split("=", 2);
        String[] path = sides[0].split("\\.");
        Object target = parts.get(path[0]);
        for (int place = 1; place < path.length - 1; place++) {
            target = target.getClass().getMethod(path[place]).invoke(target);
        }
        String name = path[path.length - 1];
        for (Method method : target.getClass().getMethods()) {
            if (method.getName().equals(name) && method.getParameterCount() == 1) {
                method.invoke(target, converted(sides[1], method.getParameterTypes()[0]));
                return;
            }
        }
        throw new NoSuchMethodException(sides[0] + " is no setting of this KCL.");
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    private static Object converted(String text, Class<?> type) {
        if (type.isEnum()) {
            return Enum.valueOf((Class<? extends Enum>) type, text);
        }
        if (type == boolean.class || type == Boolean.class) {
            return Boolean.valueOf(text);
        }
        if (type == int.class || type == Integer.class) {
            return Integer.valueOf(text);
        }
        if (type == long.class || type == Long.class) {
            return Long.valueOf(text);
        }
        if (type == double.class || type == Double.class) {
            return Double.valueOf(text);
        }
        if (type == Duration.class) {
            return Duration.parse(text);
        }
        return text;
    }
}
