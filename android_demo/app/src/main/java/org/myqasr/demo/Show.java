package org.myqasr.demo;

import android.app.Activity;
import android.app.AlertDialog;
import android.content.Context;
import android.text.SpannableStringBuilder;
import android.text.Spanned;
import android.text.style.ForegroundColorSpan;
import android.text.style.RelativeSizeSpan;
import android.text.style.UnderlineSpan;
import java.util.Locale;
import org.myqasr.core.text.Transcript;
import org.myqasr.core.text.Word;

/** Words and figures as people read them. */
final class Show {
    private static final double SURE = 0.9;
    private static final double UNSURE = 0.6;
    private static final float FIGURES = 0.6f; // size of the per cent, relative to the words

    private Show() {}

    /** Words, each with how sure the model is of it in per cent; unsure ones are coloured and underlined as well. */
    static CharSequence words(Context context, Transcript transcript) {
        SpannableStringBuilder text = new SpannableStringBuilder();
        for (Word word : transcript.words) {
            int start = text.length();
            text.append(word.text);
            if (word.confidence < SURE) {
                int color = context.getColor(word.confidence < UNSURE ? R.color.unsure : R.color.half_sure);
                mark(text, start, new ForegroundColorSpan(color));
                mark(text, start, new UnderlineSpan());
            }
            start = text.length();
            text.append(String.format(Locale.ROOT, "\u00a0%.0f\u00a0%%", 100 * word.confidence));
            mark(text, start, new ForegroundColorSpan(context.getColor(R.color.text_secondary)));
            mark(text, start, new RelativeSizeSpan(FIGURES));
            text.append(' ');
        }
        return text.length() == 0 ? context.getString(R.string.nothing_heard) : text;
    }

    /** The same for TalkBack: the text as a whole, then the words that the model is unsure of. */
    static String spoken(Context context, Transcript transcript) {
        StringBuilder unsure = new StringBuilder();
        for (Word word : transcript.words) {
            if (word.confidence < SURE) {
                unsure.append(unsure.length() > 0 ? ", " : "").append(word.text);
            }
        }
        if (transcript.words.isEmpty()) {
            return context.getString(R.string.nothing_heard);
        }
        return unsure.length() == 0 ? transcript.text()
                : context.getString(R.string.unsure_spoken, transcript.text(), unsure);
    }

    private static void mark(SpannableStringBuilder text, int start, Object span) {
        text.setSpan(span, start, text.length(), Spanned.SPAN_EXCLUSIVE_EXCLUSIVE);
    }

    /** E.g. {@code 4.17 MB}. */
    static String size(long bytes) {
        return String.format(Locale.ROOT, "%.2f MB", bytes / 1e6);
    }

    static void error(Activity activity, String message) {
        if (!activity.isFinishing() && !activity.isDestroyed()) {
            new AlertDialog.Builder(activity).setMessage(message).setPositiveButton(R.string.close, null).show();
        }
    }
}
