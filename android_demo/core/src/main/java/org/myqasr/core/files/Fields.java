package org.myqasr.core.files;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.myqasr.core.UserError;

/** A JSON object whose fields are asked for by name and type; errors name the place, as {@code input.sample_rate}. */
public final class Fields {
    private final String place;
    private final Map<?, ?> values;

    private Fields(String place, Map<?, ?> values) {
        this.place = place;
        this.values = values;
    }

    public static Fields of(String place, Object value) {
        if (!(value instanceof Map)) {
            throw new UserError(place + " is not an object");
        }
        return new Fields(place, (Map<?, ?>) value);
    }

    public boolean has(String name) {
        return values.get(name) != null;
    }

    public Fields object(String name) {
        return of(path(name), value(name));
    }

    public String text(String name) {
        return typed(name, String.class, "a text");
    }

    public boolean flag(String name) {
        return typed(name, Boolean.class, "true or false");
    }

    public double number(String name) {
        return typed(name, Number.class, "a number").doubleValue();
    }

    public long longInteger(String name) {
        return typed(name, Long.class, "a whole number");
    }

    public int integer(String name) {
        long found = longInteger(name);
        if (found != (int) found) {
            throw new UserError(path(name) + " is " + found + ", out of range");
        }
        return (int) found;
    }

    public List<?> list(String name) {
        return typed(name, List.class, "a list");
    }

    public int[] integers(String name) {
        List<?> found = has(name) ? list(name) : new ArrayList<>();
        int[] values = new int[found.size()];
        for (int i = 0; i < values.length; i++) {
            if (!(found.get(i) instanceof Long)) {
                throw new UserError(path(name) + " holds something that is not a whole number");
            }
            values[i] = ((Long) found.get(i)).intValue();
        }
        return values;
    }

    /** Text fields of an object, in order. */
    public Map<String, String> texts(String name) {
        Map<String, String> found = new LinkedHashMap<>();
        Fields inner = object(name);
        for (String key : inner.names()) {
            found.put(key, inner.text(key));
        }
        return found;
    }

    public List<String> names() {
        List<String> names = new ArrayList<>();
        for (Object name : values.keySet()) {
            names.add((String) name);
        }
        return names;
    }

    private Object value(String name) {
        Object found = values.get(name);
        if (found == null) {
            throw new UserError(path(name) + " is missing");
        }
        return found;
    }

    private <T> T typed(String name, Class<T> type, String words) {
        Object found = value(name);
        if (!type.isInstance(found)) {
            throw new UserError(path(name) + " is not " + words);
        }
        return type.cast(found);
    }

    private String path(String name) {
        return place.isEmpty() ? name : place + "." + name;
    }
}
