package org.myqasr.core.text;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import org.myqasr.core.UserError;

/** Keys and values of the tokens so far, which a decoder reads and doesn't keep; see speech/caching.py. */
public final class TokenCache {
    private static final int FLOAT_BYTES = 4;

    private final int heads;
    private final int places;
    private final int size;
    private final FloatBuffer[] buffers;

    /** As many caches as the encoder gave tensors. heard: shape of the last of them, [heads, positions, size]. */
    public TokenCache(int count, long[] heard, int maxTokens) {
        if (heard.length != 3) {
            throw new UserError("the encoder's output has " + heard.length + " dimensions, not [heads, positions, size]"
                    + "; export the file again");
        }
        heads = (int) heard[0];
        places = maxTokens;
        size = (int) heard[2];
        buffers = new FloatBuffer[count];
        for (int i = 0; i < count; i++) {
            int bytes = FLOAT_BYTES * heads * places * size;
            buffers[i] = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder()).asFloatBuffer();
        }
    }

    public int count() {
        return buffers.length;
    }

    /** [heads][places][size], in memory that native code reads. */
    public FloatBuffer buffer(int index) {
        return buffers[index];
    }

    public long[] shape() {
        return new long[] {heads, places, size};
    }

    /** Puts a row [heads][size], the decoder's for this cache, at its token's position. */
    public void keep(int index, int position, float[] row) {
        if (row.length != heads * size) {
            throw new UserError("the decoder gave a row of " + row.length + " numbers, not " + heads * size);
        }
        FloatBuffer buffer = buffers[index].duplicate();
        for (int head = 0; head < heads; head++) {
            buffer.position((head * places + position) * size);
            buffer.put(row, head * size, size);
        }
    }
}
