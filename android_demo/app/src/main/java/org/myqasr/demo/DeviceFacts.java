package org.myqasr.demo;

import android.app.ActivityManager;
import android.content.Context;
import android.content.Intent;
import android.content.IntentFilter;
import android.os.BatteryManager;
import android.os.Build;
import android.os.Debug;
import android.os.PowerManager;
import java.io.BufferedReader;
import java.io.File;
import java.io.FileReader;
import java.io.IOException;
import java.util.Locale;
import org.myqasr.core.BenchReport;

/** What the phone says of itself: processor, memory, heat, battery. */
final class DeviceFacts {
    /** Thermal status from which on a phone slows down (THERMAL_STATUS_MODERATE). */
    static final int THROTTLED = 2;
    /** Before Android 10 phones don't tell. */
    static final int THERMAL_UNKNOWN = -1;

    private static final int API_29 = 29;
    private static final int API_31 = 31;
    private static final String[] THERMAL = {"none", "light", "moderate", "severe", "critical", "emergency", "shutdown"};

    private DeviceFacts() {}

    static void describe(Context context, BenchReport.Device device) {
        device.cpu = processor();
        device.machine = Build.SUPPORTED_ABIS[0];
        device.cores = Runtime.getRuntime().availableProcessors();
        ActivityManager.MemoryInfo memory = new ActivityManager.MemoryInfo();
        ((ActivityManager) context.getSystemService(Context.ACTIVITY_SERVICE)).getMemoryInfo(memory);
        device.memoryBytes = memory.totalMem;
        device.system = String.format(Locale.ROOT, "Android %s (API %d) on %s %s", Build.VERSION.RELEASE,
                Build.VERSION.SDK_INT, Build.MANUFACTURER, Build.MODEL);
    }

    /** E.g. {@code Google Tensor G3}, where the phone tells, else what the kernel calls the cores. */
    static String processor() {
        if (Build.VERSION.SDK_INT >= API_31) {
            String maker = field("SOC_MANUFACTURER");
            String model = field("SOC_MODEL");
            if (!maker.isEmpty() && !model.isEmpty()) {
                return maker + " " + model;
            }
        }
        String hardware = cpuinfo("Hardware");
        return hardware.isEmpty() ? Build.HARDWARE : hardware;
    }

    /** Instruction set extensions that decide which kernels run, such as `asimddp` and `i8mm`. */
    static String cpuFeatures() {
        String arm = cpuinfo("Features");
        return arm.isEmpty() ? cpuinfo("flags") : arm;
    }

    /** Memory that belongs to this process: its own, and its share of what it has in common with others. */
    static long pssBytes() {
        return 1024L * Debug.getPss();
    }

    static int thermalStatus(Context context) {
        if (Build.VERSION.SDK_INT < API_29) {
            return THERMAL_UNKNOWN;
        }
        // By name, as this is also compiled against Android 6, which doesn't know it.
        PowerManager power = (PowerManager) context.getSystemService(Context.POWER_SERVICE);
        try {
            return (Integer) PowerManager.class.getMethod("getCurrentThermalStatus").invoke(power);
        } catch (ReflectiveOperationException error) {
            return THERMAL_UNKNOWN;
        }
    }

    static String thermalName(int status) {
        return status < 0 || status >= THERMAL.length ? "unknown" : THERMAL[status];
    }

    static boolean savesPower(Context context) {
        return ((PowerManager) context.getSystemService(Context.POWER_SERVICE)).isPowerSaveMode();
    }

    /** E.g. {@code 81 %, 30.5 C, charging}. */
    static String battery(Context context) {
        Intent battery = context.registerReceiver(null, new IntentFilter(Intent.ACTION_BATTERY_CHANGED));
        if (battery == null) {
            return "unknown";
        }
        int level = battery.getIntExtra(BatteryManager.EXTRA_LEVEL, 0);
        int scale = Math.max(battery.getIntExtra(BatteryManager.EXTRA_SCALE, 100), 1);
        double celsius = battery.getIntExtra(BatteryManager.EXTRA_TEMPERATURE, 0) / 10.0;
        boolean charging = battery.getIntExtra(BatteryManager.EXTRA_PLUGGED, 0) != 0;
        return String.format(Locale.ROOT, "%d %%, %.1f C%s", 100 * level / scale, celsius, charging ? ", charging" : "");
    }

    private static String field(String name) {
        try {
            return String.valueOf(Build.class.getField(name).get(null));
        } catch (ReflectiveOperationException error) {
            return "";
        }
    }

    private static String cpuinfo(String wanted) {
        try (BufferedReader lines = new BufferedReader(new FileReader(new File("/proc/cpuinfo")))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                int colon = line.indexOf(':');
                if (colon > 0 && line.substring(0, colon).trim().equals(wanted)) {
                    return line.substring(colon + 1).trim();
                }
            }
        } catch (IOException unreadable) {
            return "";
        }
        return "";
    }
}
