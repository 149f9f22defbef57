package org.myqasr.core.text;

import java.io.ByteArrayOutputStream;
import java.nio.charset.Charset;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.myqasr.core.UserError;
import org.myqasr.core.files.Fields;

/** What each output of the model writes; see {@code Tokens} in speech/decoding.py. */
public final class Tokens {
    /** What every token id writes: a space for what separates words, nothing for what isn't written. */
    public final List<String> symbols;
    /** Id of the CTC blank; null for models without. */
    public final Integer blank;
    /** Null unless the model writes token by token. */
    public final Autoregression autoregression;
    /** Symbols spell bytes of UTF-8, in the alphabet of GPT-2's tokenizer. */
    public final boolean byteLevel;
    /** Spaces before punctuation and English endings are taken out. */
    public final boolean tidied;

    public Tokens(
            List<String> symbols,
            Integer blank,
            Autoregression autoregression,
            boolean byteLevel,
            boolean tidied) {
        if (symbols.isEmpty() || (blank != null && (blank < 0 || blank >= symbols.size()))) {
            throw new UserError("CTC blank id " + blank + " is outside the " + symbols.size() + " tokens");
        }
        this.symbols = symbols;
        this.blank = blank;
        this.autoregression = autoregression;
        this.byteLevel = byteLevel;
        this.tidied = tidied;
    }

    public static Tokens of(Fields fields) {
        List<String> symbols = new ArrayList<>();
        for (Object symbol : fields.list("symbols")) {
            if (!(symbol instanceof String)) {
                throw new UserError("tokens.symbols holds something that is not a text");
            }
            symbols.add((String) symbol);
        }
        return new Tokens(
                symbols,
                fields.has("blank") ? Integer.valueOf(fields.integer("blank")) : null,
                fields.has("autoregression") ? Autoregression.of(fields.object("autoregression")) : null,
                fields.has("byte_level") && fields.flag("byte_level"),
                fields.has("tidied") && fields.flag("tidied"));
    }

    /** Whether the model gives one label for a recording. */
    public boolean classifies() {
        return blank == null && autoregression == null;
    }

    /** What one token writes; in GPT-2's alphabet where symbols are spelled in it. */
    public String written(int token) {
        return symbols.get(token);
    }

    /** Whether tidying takes out the space before a word. */
    public boolean leansBack(String word) {
        for (String ending : LEANING) {
            if (tidied && word.startsWith(ending)) {
                return true;
            }
        }
        return false;
    }

    /** Readable text of joined {@link #written} symbols, spaces made single. */
    public String readable(String joined) {
        return singleSpaces(byteLevel ? spelled(joined) : joined);
    }

    /** Runs of ASCII's white space made one space; other spaces are text. */
    public static String singleSpaces(String text) {
        StringBuilder out = new StringBuilder();
        for (String word : text.split("[ \\t\\n\\x0B\\f\\r]+")) {
            if (!word.isEmpty()) {
                out.append(out.length() > 0 ? " " : "").append(word);
            }
        }
        return out.toString();
    }

    /** GPT-2's alphabet writes printable bytes as themselves and the n-th of the others as 256 + n. */
    private static String spelled(String symbols) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        for (int i = 0; i < symbols.length(); i++) {
            Integer value = SPELLING.get(symbols.charAt(i));
            if (value != null) {
                bytes.write(value);
            }
        }
        return new String(bytes.toByteArray(), Charset.forName("UTF-8"));
    }

    private static final String[] LEANING = {".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"};

    private static final Map<Character, Integer> SPELLING = spelling();

    private static Map<Character, Integer> spelling() {
        Map<Character, Integer> found = new HashMap<>();
        int others = 0;
        for (int value = 0; value < 256; value++) {
            boolean printable = (value > 32 && value < 127) || (value > 160 && value != 173);
            found.put((char) (printable ? value : 256 + others++), value);
        }
        return found;
    }
}
