package org.myqasr.core.files;

import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.myqasr.core.UserError;
import org.myqasr.core.audio.Waveforms;
import org.myqasr.core.text.Tokens;

/** {@code manifest.json} of a {@code myqasr export} folder; see exporters/manifest.py. */
public final class Manifest {
    public static final String NAME = "manifest.json";
    private static final int SCHEMA_VERSION = 2;

    /** How audio becomes the model's input. */
    public static final class Input {
        public final int sampleRate;
        /** Shift and scale each utterance to zero mean and unit variance first. */
        public final boolean normalize;
        /** Samples per output frame. */
        public final int strideSamples;

        public Input(Fields fields) {
            sampleRate = fields.integer("sample_rate");
            normalize = fields.flag("normalize");
            strideSamples = fields.integer("stride_samples");
            if (sampleRate != Waveforms.SAMPLE_RATE || strideSamples < 1) {
                throw new UserError("the model takes audio at " + sampleRate + " Hz with a frame every " + strideSamples
                        + " samples; this app records at " + Waveforms.SAMPLE_RATE + " Hz");
            }
        }
    }

    /** Precision of one layer as read back from the file. */
    public static final class Layer {
        private static final Pattern LABEL = Pattern.compile("(fp|int|lut|q)(\\d{1,2})([-_].+)?");

        /** E.g. {@code int4-g32-a8d} or {@code q4_0-a8b}, as the command line names precisions. */
        public final String label;
        /** Bits a weight as stored. */
        public final int bits;

        Layer(String label) {
            Matcher match = LABEL.matcher(label);
            if (!match.matches()) {
                throw new UserError("'" + label + "' is not a precision");
            }
            this.label = label;
            bits = Integer.parseInt(match.group(2));
            if (bits < 1 || bits > 32) {
                throw new UserError("'" + label + "' is not a precision: 1 to 32 bits");
            }
        }
    }

    /** One exported file. */
    public static final class Artifact {
        public final String target;
        public final String file;
        public final String sha256;
        public final long sizeBytes;
        public final double meanBits;
        public final String planHash;
        public final String profileHash;
        public final int minSamples;
        public final int maxSamples;
        /** In the order the stored program runs them. */
        public final Map<String, Layer> layers;

        Artifact(Fields fields) {
            target = fields.text("target");
            file = fields.text("file");
            sha256 = fields.text("sha256");
            sizeBytes = fields.longInteger("size_bytes");
            meanBits = fields.number("mean_bits");
            planHash = fields.text("plan_hash");
            profileHash = fields.text("profile_hash");
            minSamples = fields.integer("min_samples");
            maxSamples = fields.integer("max_samples");
            if (file.isEmpty() || file.startsWith(".") || file.contains("/") || file.contains("\\")) {
                throw new UserError("the file name '" + file + "' in " + NAME + " leads out of its folder");
            }
            if (minSamples < 1 || maxSamples < minSamples) {
                throw new UserError(file + " takes " + minSamples + " to " + maxSamples + " samples");
            }
            layers = new LinkedHashMap<>();
            for (Map.Entry<String, String> layer : fields.texts("layers").entrySet()) {
                layers.put(layer.getKey(), new Layer(layer.getValue()));
            }
        }
    }

    public final String model;
    public final String weightsHash;
    public final Tokens tokens;
    public final Input input;
    public final Map<String, String> versions;
    public final List<Artifact> artifacts;

    private Manifest(Fields fields) {
        long version = fields.longInteger("schema_version");
        if (version != SCHEMA_VERSION) {
            throw new UserError(NAME + " has schema " + version + ", this app reads " + SCHEMA_VERSION
                    + "; export again with the version of myqasr that the app comes from");
        }
        model = fields.text("model");
        weightsHash = fields.text("weights_hash");
        tokens = Tokens.of(fields.object("tokens"));
        input = new Input(fields.object("input"));
        versions = fields.texts("versions");
        artifacts = new ArrayList<>();
        for (Object artifact : fields.list("artifacts")) {
            artifacts.add(new Artifact(Fields.of("artifacts[" + artifacts.size() + "]", artifact)));
        }
    }

    /** From the text of manifest.json; fields that this version doesn't know are passed over. */
    public static Manifest parse(String text) {
        try {
            return new Manifest(Fields.of("", Json.parse(text)));
        } catch (UserError error) {
            throw new UserError(NAME + ": " + error.getMessage(), error);
        }
    }

    /** The entry of a file; UserError lists the files there are. */
    public Artifact artifact(String file) {
        StringBuilder known = new StringBuilder();
        for (Artifact artifact : artifacts) {
            if (artifact.file.equals(file)) {
                return artifact;
            }
            known.append(known.length() > 0 ? ", " : "").append(artifact.file);
        }
        throw new UserError(NAME + " does not list " + file + "; it lists: " + known);
    }

    /** UserError, naming both sizes or hashes, unless the file is the one that was exported. */
    public static void check(Artifact artifact, File file) throws IOException {
        if (file.length() != artifact.sizeBytes) {
            throw new UserError(artifact.file + " has " + file.length() + " bytes, " + NAME + " says "
                    + artifact.sizeBytes + "; copy it again");
        }
        String found = Hashes.ofFile(file);
        if (!found.equals(artifact.sha256)) {
            throw new UserError(artifact.file + " is not the file that was exported: " + NAME + " says sha256 "
                    + artifact.sha256 + ", the file has " + found + "; copy it again");
        }
    }
}
