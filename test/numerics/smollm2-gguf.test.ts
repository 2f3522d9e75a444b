import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSafetensors } from '@whetstone/core/safetensors';
import { importGguf, loadRenderer, loadTokenizer, type FolderTokenizer, type ImportReport } from '@whetstone/models';
import { createRenderer } from '../../packages/models/src/chat-template/renderer.js';
import { openGguf, type GgufFile } from '../../packages/models/src/gguf/testing/open-gguf.js';
import { IGNORED_LABEL, type ChatRenderer } from '@whetstone/core/contract';
import { readGolden } from '../support/golden.js';
import { smollm2File, type SmolFixture } from '../support/smollm2.js';

// The GGUF file of SmolLM2. Expected values: gguf-py; ids and labels: transformers.

interface GgufFixture {
  readonly metadata: Record<string, unknown>;
  readonly tensor_count: number;
  readonly type_counts: Record<string, number>;
  readonly tensors: {
    readonly gguf_name: string;
    readonly type: string;
    readonly row_major_shape: number[];
    readonly first64: number[];
  }[];
}

const file = smollm2File();
const fixture = readGolden<SmolFixture>('smollm2', 'golden.json');
const golden = readGolden<GgufFixture>('smollm2', 'gguf.json');

describe.skipIf(file === null)('SmolLM2 from its GGUF file', () => {
  let folder: string;
  let gguf: GgufFile;
  let report: ImportReport;
  let tokenizer: FolderTokenizer;
  let renderer: ChatRenderer;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'whetstone-smollm2-'));
    gguf = await openGguf(file ?? '');
    report = await importGguf(file ?? '', join(folder, 'model'));
    tokenizer = await loadTokenizer(join(folder, 'model'));
    renderer = await loadRenderer(join(folder, 'model'), tokenizer);
  });
  afterAll(async () => {
    await gguf.close();
    await rm(folder, { recursive: true, force: true });
  });

  it('has the metadata and tensors', () => {
    expect(gguf.header.tensors.size).toBe(golden.tensor_count);
    expect(report.sourceTypes).toEqual(golden.type_counts);
    for (const [key, value] of Object.entries(golden.metadata)) {
      if (Array.isArray(value) && value.length > 1) continue;
      expect(gguf.header.metadata.get(key), key).toEqual(value);
    }
  });

  it.each(golden.tensors.map((tensor) => [tensor.gguf_name, tensor] as const))('reads %s', async (name, tensor) => {
    const entry = gguf.header.tensors.get(name);
    expect(entry?.type.name).toBe(tensor.type);
    expect(entry?.shape).toEqual(tensor.row_major_shape);
    const values = await gguf.readFloat32(name);
    for (const [i, expected] of tensor.first64.entries())
      expect(Math.abs((values[i] ?? NaN) - expected), `${name}[${i}]`).toBeLessThanOrEqual(1e-7 * Math.abs(expected));
  });

  it('reorders the rows of q and k as in Hugging Face', async () => {
    const name = 'blk.0.attn_k.weight';
    const [source, reader] = [
      await gguf.readFloat32(name),
      await openSafetensors(join(folder, 'model', 'model.safetensors')),
    ];
    const stored = await reader.readFloat32('model.layers.0.self_attn.k_proj.weight');
    await reader.close();
    const [width, headDim] = [576, 64];
    // Row 1 of a head is row 2 of the file, the first of the second rotary pair.
    const row = (values: Float32Array, at: number): number[] => [...values.subarray(at * width, at * width + 8)];
    const close = (a: number[], b: number[]): void =>
      a.forEach((value, i) => expect(Math.abs(value - (b[i] ?? NaN))).toBeLessThanOrEqual(Math.abs(value) / 128));
    close(row(source, 2), row(stored, 1));
    close(row(source, 1), row(stored, headDim / 2));
    close(row(source, headDim), row(stored, headDim));
  });

  it('stores quantised weights as bfloat16 and reports it and the padding token', async () => {
    expect(report.dtype).toBe('bfloat16');
    expect(report.notes.join(' ')).toMatch(/quantised/);
    expect(report.notes.join(' ')).toMatch(/padding token is also the end of a turn/);
    const config = JSON.parse(await readFile(join(folder, 'model', 'config.json'), 'utf8')) as Record<string, unknown>;
    expect(config).toMatchObject({
      model_type: 'llama',
      num_hidden_layers: 30,
      num_key_value_heads: 3,
      tie_word_embeddings: true,
      pad_token_id: 2,
      eos_token_id: 2,
    });
  });

  it('tokenizes a hundred lines', () => {
    for (const { text, ids, decoded } of fixture.lines) {
      expect(tokenizer.encode(text), text).toEqual(ids);
      expect(tokenizer.decode(ids), text).toBe(decoded);
    }
  });

  it('renders, tokenizes and labels the conversations, with and without generation tags', () => {
    const tagged = createRenderer(fixture.chat_template_with_generation_tags, {
      specialTokens: tokenizer.specialTokens,
      tokenizer,
    });
    for (const { messages, text, ids, labels } of fixture.conversations) {
      expect(tokenizer.encode(text)).toEqual(ids);
      for (const chosen of [renderer, tagged]) {
        const rendered = chosen.render(messages);
        expect(rendered.text).toBe(text);
        const { starts, ends } = tokenizer.encodeWithSpans(text);
        const turns = rendered.turns.filter((_, i) => messages[i]?.role === 'assistant');
        const ours = ids.map((id, i) =>
          turns.some((turn) => turn !== null && (starts[i] ?? 0) < turn.end && (ends[i] ?? 0) > turn.start)
            ? id
            : IGNORED_LABEL,
        );
        expect(ours, text).toEqual(labels);
      }
    }
    expect(renderer.stopTokenIds).toEqual([tokenizer.tokenId('<|im_end|>')]);
  });
});
