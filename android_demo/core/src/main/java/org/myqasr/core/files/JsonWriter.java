package org.myqasr.core.files;

import java.math.BigDecimal;
import java.math.MathContext;
import java.math.RoundingMode;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.myqasr.core.UserError;

/** Writes JSON to the letter as Python does, so that both sides find the same hash of a result's content. */
public final class JsonWriter {
    private JsonWriter() {}

    public static void write(Object value, int depth, StringBuilder out) {
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
    public static String number(double value) {
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
                out.append(String.format(Locale.ROOT, "\\u%04x", (int) symbol));
            } else {
                out.append(symbol);
            }
        }
        out.append('"');
    }
}
