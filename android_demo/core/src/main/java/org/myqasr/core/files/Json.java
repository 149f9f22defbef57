package org.myqasr.core.files;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.myqasr.core.UserError;

/**
 * JSON (RFC 8259) to and from plain values: {@code Map<String, Object>} in order, {@code List<Object>},
 * String, Long, Double, Boolean, null. Writes as Python's {@code json.dumps(indent=1, ensure_ascii=False)}.
 */
public final class Json {
    private static final int MAX_DEPTH = 100;

    private final String text;
    private int at;

    private Json(String text) {
        this.text = text;
    }

    /** The value of a whole text; UserError says what was wrong and where. */
    public static Object parse(String text) {
        Json reader = new Json(text);
        Object value = reader.value(0);
        reader.skipSpace();
        if (reader.at != text.length()) {
            throw reader.wrong("more text after the value");
        }
        return value;
    }

    /** Indented text of a value; UserError for NaN, infinities and other types. */
    public static String write(Object value) {
        StringBuilder out = new StringBuilder();
        JsonWriter.write(value, 0, out);
        return out.toString();
    }

    private Object value(int depth) {
        if (depth > MAX_DEPTH) {
            throw wrong("nested too deeply");
        }
        skipSpace();
        char first = peek();
        switch (first) {
            case '{':
                return object(depth);
            case '[':
                return list(depth);
            case '"':
                return string();
            case 't':
                return word("true", Boolean.TRUE);
            case 'f':
                return word("false", Boolean.FALSE);
            case 'n':
                return word("null", null);
            default:
                return number();
        }
    }

    private Map<String, Object> object(int depth) {
        Map<String, Object> found = new LinkedHashMap<>();
        at++;
        skipSpace();
        if (peek() == '}') {
            at++;
            return found;
        }
        while (true) {
            skipSpace();
            if (peek() != '"') {
                throw wrong("a name in quotes is missing");
            }
            String name = string();
            skipSpace();
            expect(':');
            if (found.containsKey(name)) {
                throw wrong("the name \"" + name + "\" comes twice");
            }
            found.put(name, value(depth + 1));
            skipSpace();
            if (peek() == '}') {
                at++;
                return found;
            }
            expect(',');
        }
    }

    private List<Object> list(int depth) {
        List<Object> found = new ArrayList<>();
        at++;
        skipSpace();
        if (peek() == ']') {
            at++;
            return found;
        }
        while (true) {
            found.add(value(depth + 1));
            skipSpace();
            if (peek() == ']') {
                at++;
                return found;
            }
            expect(',');
        }
    }

    private String string() {
        StringBuilder out = new StringBuilder();
        at++;
        while (true) {
            char next = peek();
            at++;
            if (next == '"') {
                return out.toString();
            } else if (next == '\\') {
                out.append(escape());
            } else if (next < ' ') {
                throw wrong("a control character in a string");
            } else {
                out.append(next);
            }
        }
    }

    private char escape() {
        char next = peek();
        at++;
        int place = "\"\\/bfnrt".indexOf(next);
        if (place >= 0) {
            return "\"\\/\b\f\n\r\t".charAt(place);
        }
        if (next != 'u' || at + 4 > text.length()) {
            throw wrong("an unknown escape");
        }
        int code = 0;
        for (int end = at + 4; at < end; at++) {
            int digit = Character.digit(text.charAt(at), 16);
            if (digit < 0) {
                throw wrong("an unknown escape");
            }
            code = 16 * code + digit;
        }
        return (char) code;
    }

    private Object number() {
        int start = at;
        if (peek() == '-') {
            at++;
        }
        int whole = digits();
        boolean leadingZero = whole > 1 && text.charAt(at - whole) == '0';
        boolean fraction = at < text.length() && text.charAt(at) == '.';
        boolean good = whole > 0 && !leadingZero;
        if (fraction) {
            at++;
            good &= digits() > 0;
        }
        boolean exponent = at < text.length() && "eE".indexOf(text.charAt(at)) >= 0;
        if (exponent) {
            at++;
            if (at < text.length() && "+-".indexOf(text.charAt(at)) >= 0) {
                at++;
            }
            good &= digits() > 0;
        }
        if (!good) {
            at = start;
            throw wrong("not a value");
        }
        String digits = text.substring(start, at);
        if (!fraction && !exponent) {
            try {
                return Long.valueOf(digits);
            } catch (NumberFormatException tooLong) {
                return Double.valueOf(digits);
            }
        }
        return Double.valueOf(digits);
    }

    private int digits() {
        int start = at;
        while (at < text.length() && text.charAt(at) >= '0' && text.charAt(at) <= '9') {
            at++;
        }
        return at - start;
    }

    private Object word(String word, Object meaning) {
        if (!text.startsWith(word, at)) {
            throw wrong("not a value");
        }
        at += word.length();
        return meaning;
    }

    private void expect(char wanted) {
        if (peek() != wanted) {
            throw wrong("'" + wanted + "' is missing");
        }
        at++;
    }

    private char peek() {
        if (at >= text.length()) {
            throw wrong("the text ends too early");
        }
        return text.charAt(at);
    }

    private void skipSpace() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
    }

    private UserError wrong(String what) {
        return new UserError("not JSON: " + what + " at character " + at);
    }
}
