package org.myqasr.core;

import java.math.BigDecimal;
import java.math.MathContext;
import java.math.RoundingMode;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

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
        write(value, 0, out);
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

    private static void write(Object value, int depth, StringBuilder out) {
        if (value == null || value instanceof Boolean || value instanceof Integer || value instanceof Long) {
            out.append(value);
        } else if (value instanceof Double || value instanceof Float) {
            double number = ((Number) value).doubleValue();
            if (Double.isNaN(number) || Double.isInfinite(number)) {
                throw new UserError("JSON has no " + number);
            }
            out.append(number(number));
        } else if (value instanceof String) {
            quote((String) value, out);
        } else if (value instanceof Map) {
            Map<?, ?> map = (Map<?, ?>) value;
            String before = "{";
            for (Map.Entry<?, ?> entry : map.entrySet()) {
                newLine(out.append(before), depth + 1);
                quote((String) entry.getKey(), out);
                write(entry.getValue(), depth + 1, out.append(": "));
                before = ",";
            }
            close(map.isEmpty(), "{", "}", depth, out);
        } else if (value instanceof List) {
            List<?> list = (List<?>) value;
            String before = "[";
            for (Object entry : list) {
                newLine(out.append(before), depth + 1);
                write(entry, depth + 1, out);
                before = ",";
            }
            close(list.isEmpty(), "[", "]", depth, out);
        } else {
            throw new UserError("JSON has no " + value.getClass().getSimpleName());
        }
    }

    /** The shortest digits that stand for this number alone, written as Python's repr. */
    static String number(double value) {
        if (value == 0) {
            return 1 / value < 0 ? "-0.0" : "0.0";
        }
        BigDecimal exact = new BigDecimal(value);
        BigDecimal shortest = exact;
        for (int digits = 1; digits <= 17; digits++) {
            shortest = exact.round(new MathContext(digits, RoundingMode.HALF_EVEN));
            if (shortest.doubleValue() == value) {
                break;
            }
        }
        String digits = shortest.stripTrailingZeros().unscaledValue().abs().toString();
        int point = digits.length() - shortest.stripTrailingZeros().scale(); // digits before the point
        String sign = value < 0 ? "-" : "";
        if (point <= -4 || point > 16) {
            String fraction = digits.length() > 1 ? "." + digits.substring(1) : "";
            int power = point - 1;
            return sign + digits.charAt(0) + fraction + "e" + (power < 0 ? "-" : "+")
                    + (Math.abs(power) < 10 ? "0" : "") + Math.abs(power);
        }
        if (point <= 0) {
            return sign + "0." + zeros(-point) + digits;
        }
        if (point >= digits.length()) {
            return sign + digits + zeros(point - digits.length()) + ".0";
        }
        return sign + digits.substring(0, point) + "." + digits.substring(point);
    }

    private static String zeros(int count) {
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < count; i++) {
            text.append('0');
        }
        return text.toString();
    }

    private static void close(boolean empty, String open, String close, int depth, StringBuilder out) {
        if (empty) {
            out.append(open);
        } else {
            newLine(out, depth);
        }
        out.append(close);
    }

    private static void newLine(StringBuilder out, int depth) {
        out.append('\n');
        for (int i = 0; i < depth; i++) {
            out.append(' ');
        }
    }

    private static void quote(String text, StringBuilder out) {
        out.append('"');
        for (int i = 0; i < text.length(); i++) {
            char symbol = text.charAt(i);
            int place = "\"\\\b\f\n\r\t".indexOf(symbol);
            if (place >= 0) {
                out.append('\\').append("\"\\bfnrt".charAt(place));
            } else if (symbol < ' ') {
                out.append(String.format(java.util.Locale.ROOT, "\\u%04x", (int) symbol));
            } else {
                out.append(symbol);
            }
        }
        out.append('"');
    }
}
