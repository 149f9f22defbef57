package org.myqasr.demo.engines;

import java.io.File;
import org.myqasr.core.Engine;
import org.myqasr.core.UserError;
import org.myqasr.core.text.Autoregression;
import org.myqasr.core.text.Logits;
import org.myqasr.core.text.TokenCache;
import org.pytorch.executorch.EValue;
import org.pytorch.executorch.Module;
import org.pytorch.executorch.Tensor;

/** A .pte file in ExecuTorch: method `forward`, or `encode` and `decode` of a model that writes token by token. */
public final class ExecuTorchEngine implements Engine {
    private final Module module;
    private final Autoregression autoregression;
    private final int threads;

    private ExecuTorchEngine(Module module, Autoregression autoregression, int threads) {
        this.module = module;
        this.autoregression = autoregression;
        this.threads = threads;
    }

    public static ExecuTorchEngine open(File file, Autoregression autoregression, int threads) {
        try {
            Module module = Module.load(file.getPath(), Module.LOAD_MODE_MMAP, threads);
            return new ExecuTorchEngine(module, autoregression, threads);
        } catch (RuntimeException error) {
            throw new UserError("ExecuTorch can't load " + file.getName() + ": " + error.getMessage(), error);
        }
    }

    @Override
    public Logits logits(float[] features) {
        EValue waveform = EValue.from(Tensor.fromBlob(features, new long[] {1, features.length}));
        try {
            if (autoregression == null) {
                return all(module.forward(waveform));
            }
            EValue[] heard = module.execute("encode", waveform);
            if (heard.length == 0) {
                throw new UserError("the model gave no output");
            }
            long[] shape = heard[heard.length - 1].toTensor().shape();
            TokenCache cache = new TokenCache(heard.length, shape, autoregression.maxTokens);
            return autoregression.greedy((token, position) -> decoded(token, position, cache, heard));
        } catch (UserError error) {
            throw error;
        } catch (RuntimeException error) {
            throw new UserError("ExecuTorch can't run " + features.length + " samples: " + error.getMessage(), error);
        }
    }

    /** The logits [vocab] of what follows a token; its keys and values go into the cache. */
    private float[] decoded(long token, int position, TokenCache cache, EValue[] heard) {
        EValue[] inputs = new EValue[2 + cache.count() + heard.length];
        inputs[0] = EValue.from(Tensor.fromBlob(new long[] {token}, new long[] {1, 1}));
        inputs[1] = EValue.from(Tensor.fromBlob(new long[] {position}, new long[] {1}));
        for (int i = 0; i < cache.count(); i++) {
            inputs[2 + i] = EValue.from(Tensor.fromBlob(cache.buffer(i), cache.shape()));
        }
        System.arraycopy(heard, 0, inputs, 2 + cache.count(), heard.length);
        EValue[] outputs = module.execute("decode", inputs);
        if (outputs.length != 1 + cache.count()) {
            throw new UserError("the model's decoder keeps no " + cache.count() + " caches; export the file again");
        }
        for (int i = 0; i < cache.count(); i++) {
            cache.keep(i, position, outputs[1 + i].toTensor().getDataAsFloatArray());
        }
        return outputs[0].toTensor().getDataAsFloatArray();
    }

    /** Logits [frames][vocab] of an output [1, frames, vocab]. */
    private static Logits all(EValue[] outputs) {
        Tensor output = first(outputs);
        long[] shape = output.shape();
        if (shape.length != 3 || shape[0] != 1) {
            throw new UserError("the model's output has " + shape.length + " dimensions, not [1, frames, vocabulary]");
        }
        return new Logits((int) shape[1], (int) shape[2], output.getDataAsFloatArray());
    }

    private static Tensor first(EValue[] outputs) {
        if (outputs.length == 0) {
            throw new UserError("the model gave no output");
        }
        return outputs[0].toTensor();
    }

    @Override
    public String description() {
        return "ExecuTorch on Android";
    }

    @Override
    public int threads() {
        return threads;
    }

    @Override
    public void close() {
        module.destroy();
    }
}
