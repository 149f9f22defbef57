package org.myqasr.core;

import java.util.Arrays;

/** Order statistics, as numpy and scipy compute them. */
public final class Statistics {
    private Statistics() {}

    /** Quantile 0 to 1 with linear interpolation (numpy's default, Hyndman and Fan's type 7). */
    public static double quantile(double[] values, double share) {
        if (values.length == 0 || !(share >= 0 && share <= 1)) {
            throw new UserError("quantile " + share + " of " + values.length + " values");
        }
        double[] sorted = values.clone();
        Arrays.sort(sorted);
        double place = share * (sorted.length - 1);
        int below = (int) Math.floor(place);
        int above = Math.min(below + 1, sorted.length - 1);
        return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
    }

    public static double median(double[] values) {
        return quantile(values, 0.5);
    }

    /** Mean without the `share` smallest and the `share` largest values, e.g. 0.2. */
    public static double trimmedMean(double[] values, double share) {
        int cut = (int) (share * values.length);
        if (values.length - 2 * cut < 1 || share < 0) {
            throw new UserError("nothing is left of " + values.length + " values without " + share + " at both ends");
        }
        double[] sorted = values.clone();
        Arrays.sort(sorted);
        double sum = 0;
        for (int i = cut; i < sorted.length - cut; i++) {
            sum += sorted[i];
        }
        return sum / (sorted.length - 2 * cut);
    }
}
