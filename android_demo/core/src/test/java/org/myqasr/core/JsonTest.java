package org.myqasr.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import org.junit.Test;
import org.myqasr.core.files.Json;
import org.myqasr.core.files.JsonWriter;

public class JsonTest {
    @Test
    public void valuesAreReadAsTheirTypes() {
        assertEquals(Arrays.asList(1L, -2.5, 1e300, "a\n\u00e9\ud83d\ude00", true, false, null),
                Json.parse(" [1, -2.5, 1e300, \"a\\n\\u00e9\\ud83d\\ude00\", true, false, null] "));
        assertEquals(1e19, Json.parse("10000000000000000000"));
    }

    @Test
    public void whatIsWrittenIsReadBackInOrder() {
        Map<String, Object> value = new LinkedHashMap<>();
        value.put("z", Arrays.asList(1L, 0.1, "q\"\\\u0001"));
        value.put("a", new LinkedHashMap<String, Object>());
        value.put("n", null);
        String text = Json.write(value);
        assertEquals(value, Json.parse(text));
        assertTrue(text, text.indexOf("\"z\"") < text.indexOf("\"a\""));
        assertEquals("{\n \"z\": [\n  1,\n  0.1,\n  \"q\\\"\\\\\\u0001\"\n ],\n \"a\": {},\n \"n\": null\n}", text);
    }

    @Test
    public void numbersAreWrittenAsPythonDoes() {
        double[] values = {0.1, 1.0, -2.5, 1e-4, 1e-5, 1.5e-7, 123456789.125, 1e15, 1e16, 1.25e22, 2e-323, 0.0, -0.0, 100};
        String[] written = {"0.1", "1.0", "-2.5", "0.0001", "1e-05", "1.5e-07", "123456789.125", "1000000000000000.0",
            "1e+16", "1.25e+22", "2e-323", "0.0", "-0.0", "100.0"};
        for (int i = 0; i < values.length; i++) {
            assertEquals(written[i], JsonWriter.number(values[i]));
        }
        java.util.Random random = new java.util.Random(3);
        for (int i = 0; i < 10_000; i++) {
            double value = Double.longBitsToDouble(random.nextLong());
            if (!Double.isNaN(value) && !Double.isInfinite(value)) {
                assertEquals(value, Double.parseDouble(JsonWriter.number(value)), 0);
            }
        }
    }

    @Test
    public void brokenTextIsRefusedWithThePlace() {
        String[] broken = {"", "{", "[1,]", "{\"a\":1,}", "01", "1.", "-", "+1", "nul", "\"\u0001\"", "\"\\x\"", "\"\\u12g4\"",
            "[1] 2", "{a:1}", "\"open", "[1 2]", "{\"a\":1,\"a\":2}", "NaN"};
        for (String text : broken) {
            UserError error = assertThrows(text, UserError.class, () -> Json.parse(text));
            assertTrue(error.getMessage(), error.getMessage().contains("at character"));
        }
        StringBuilder deep = new StringBuilder();
        for (int i = 0; i < 100_000; i++) {
            deep.append('[');
        }
        assertThrows(UserError.class, () -> Json.parse(deep.toString()));
    }

    @Test
    public void whatJsonLacksIsntWritten() {
        assertThrows(UserError.class, () -> Json.write(Double.NaN));
        assertThrows(UserError.class, () -> Json.write(new Object()));
    }
}
