package org.myqasr.demo;

import android.content.Context;
import android.graphics.Canvas;
import android.graphics.Paint;
import android.util.AttributeSet;
import android.view.View;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.myqasr.core.files.Manifest;

/** One bar per layer, as high as its bits, in the order the program runs them; lines at 4, 8, 16 and 32 bits. */
public final class LayerChart extends View {
    private static final int[] LINES = {4, 8, 16, 32};

    private final Paint bar = new Paint(Paint.ANTI_ALIAS_FLAG);
    private final Paint line = new Paint();
    private final Paint label = new Paint(Paint.ANTI_ALIAS_FLAG);
    private final List<Integer> bits = new ArrayList<>();

    public LayerChart(Context context, AttributeSet attributes) {
        super(context, attributes);
        bar.setColor(context.getColor(R.color.accent));
        line.setColor(context.getColor(R.color.line));
        line.setStrokeWidth(getResources().getDimension(R.dimen.hairline));
        label.setColor(context.getColor(R.color.text_secondary));
        label.setTextSize(getResources().getDimension(R.dimen.text_small));
    }

    /** Show an artifact's layers, and say them to TalkBack. */
    void show(Manifest.Artifact artifact) {
        bits.clear();
        int least = Integer.MAX_VALUE;
        int most = 0;
        for (Map.Entry<String, Manifest.Layer> entry : artifact.layers.entrySet()) {
            int value = entry.getValue().bits;
            bits.add(value);
            least = Math.min(least, value);
            most = Math.max(most, value);
        }
        setContentDescription(bits.isEmpty()
                ? getResources().getString(R.string.chart_empty)
                : getResources().getString(R.string.chart_spoken, bits.size(), least, most, artifact.meanBits));
        invalidate();
    }

    @Override
    protected void onDraw(Canvas canvas) {
        super.onDraw(canvas);
        if (bits.isEmpty()) {
            return;
        }
        float left = label.measureText("32") + getResources().getDimension(R.dimen.gap_small);
        float height = getHeight() - label.getTextSize();
        float bottom = getHeight() - label.getTextSize() / 2;
        for (int value : LINES) {
            float y = bottom - level(value) * height;
            canvas.drawLine(left, y, getWidth(), y, line);
            canvas.drawText(String.valueOf(value), 0, y + label.getTextSize() / 3, label);
        }
        float step = (getWidth() - left) / bits.size();
        for (int i = 0; i < bits.size(); i++) {
            float x = left + i * step;
            canvas.drawRect(x + step * 0.1f, bottom - level(bits.get(i)) * height, x + step * 0.9f, bottom, bar);
        }
    }

    /** Share of the height: logarithmic, so that 4 and 8 bits can be told apart beside 32. */
    static float level(int bits) {
        return (float) (Math.log(1 + bits) / Math.log(33));
    }
}
