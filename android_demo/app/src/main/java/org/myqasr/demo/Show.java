package org.myqasr.demo;

import android.app.Activity;
import android.app.AlertDialog;
import android.content.Context;
import android.text.SpannableStringBuilder;
import android.text.Spanned;
import android.text.style.ForegroundColorSpan;
import android.text.style.UnderlineSpan;
import java.util.Locale;
import org.myqasr.core.Transcript;
import org.myqasr.core.Word;

/** Words and figures as people read them. */
final class Show {
    private static final double SURE = 0.9;
    private static final double UNSURE = 0.6;

    private Show() {}

    /** Words with how sure the model is of each, in per cent; unsure ones are coloured and underlined as well. */
    static CharSequence words(Context context, Transcript transcript) {
        SpannableStringBuilder text = new SpannableStringBuilder();
        for (Word word : transcript.words) {
            int start = text.length();
            text.append(word.text);
            if (word.confidence < SURE) {
                int color = context.getColor(word.confidence < UNSURE ? R.color.unsure : R.color.half_sure);
                text.setSpan(new ForegroundColorSpan(color), start, text.length(), Spanned.SPAN_EXCLUSIVE_EXCLUSIVE);
                text.setSpan(new UnderlineSpan(), start, text.length(), Spanned.SPAN_EXCLUSIVE_EXCLUSIVE);
                text.append(String.format(Locale.ROOT, "\u00a0%.0f\u00a0%%", 100 * word.confidence));
            }
            text.append(' ');
        }
        return text.length() == 0 ? context.getString(R.string.nothing_heard) : text;
    }

    /** E.g. {@code 4.17 MB}. */
    static String size(long bytes) {
        return String.format(Locale.ROOT, "%.2f MB", bytes / 1e6);
    }

    static void error(Activity activity, String message) {
        if (!activity.isFinishing()) {
            new AlertDialog.Builder(activity).setMessage(message).setPositiveButton(R.string.close, null).show();
        }
    }
}
