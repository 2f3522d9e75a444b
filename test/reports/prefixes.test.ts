import '@tensorflow/tfjs-backend-cpu';
import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import type { ForwardInput, LanguageModel } from '@whetstone/core/contract';
import { createRandomModel, generateIds, loadLanguageModel } from '@whetstone/models';
import { loadAdapter, readAdapterFolder } from '@whetstone/strategies';
import { goldenPath } from '../support/golden.js';
import { largestDifference } from '../support/model-numbers.js';
import { casePath } from './support.js';

// Expected logits: PEFT, with each document in a row of its own; see make_prefixes.py.
const fixture = JSON.parse(readFileSync(casePath('prefixes/logits.json'), 'utf8')) as {
  readonly documents: readonly number[][];
  readonly logits: Readonly<Record<string, number[][]>>;
};

/** Rows of documents, given by their numbers; null is a token of padding. */
type Layout = readonly (readonly (number | null)[])[];

/** How documents may share rows. All rows have the same length. */
const layouts: Readonly<Record<string, Layout>> = {
  'one row without padding': [[0, 1, 2]],
  'one row in another order, with padding at the end': [[2, 0, 1, null, null]],
  'packed rows': [
    [0, 2],
    [1, 0, null, null],
  ],
  'padding at the start': [
    [null, null, null, null, null, null, 0],
    [1, 0],
  ],
};

interface Laid {
  readonly input: ForwardInput;
  /** The number of each document and the cells of its tokens, in order. */
  readonly cells: readonly { readonly document: number; readonly at: number[] }[];
}

function layOut(layout: Layout, documents: readonly number[][]): Laid {
  const rows = layout.map((row) =>
    row.flatMap((one) => (one === null ? [null] : (documents[one] ?? []).map((id, at) => ({ one, id, at })))),
  );
  const length = Math.max(...rows.map((row) => row.length));
  const input: ForwardInput = {
    rows: rows.length,
    length,
    ids: new Int32Array(rows.length * length),
    segmentIds: new Int32Array(rows.length * length),
    positionIds: new Int32Array(rows.length * length),
  };
  const cells: { document: number; at: number[] }[] = [];
  for (const [row, tokens] of rows.entries()) {
    let segment = 0;
    for (const [column, token] of tokens.entries()) {
      if (token === null) continue;
      const cell = row * length + column;
      if (token.at === 0) {
        segment++;
        cells.push({ document: token.one, at: [] });
      }
      cells.at(-1)?.at.push(cell);
      input.ids[cell] = token.id;
      input.segmentIds[cell] = segment;
      input.positionIds[cell] = token.at;
    }
  }
  return { input, cells };
}

/** Returns the logits of each document of a layout. */
function documentLogits(model: LanguageModel, { input, cells }: Laid): { document: number; logits: number[] }[] {
  const all = tf.tidy(() => model.logits(input, 'all').dataSync());
  const width = model.vocabularySize;
  return cells.map(({ document, at }) => ({
    document,
    logits: at.flatMap((cell) => [...all.subarray(cell * width, (cell + 1) * width)]),
  }));
}

beforeAll(() => tf.setBackend('cpu'));

describe.each(Object.keys(fixture.logits))('%s, with a sliding window', (name) => {
  it('gives each document the logits that PEFT computes for it alone', async () => {
    const [kind = '', method = ''] = name.split('/');
    const model = await loadLanguageModel(casePath(`prefixes/${kind}`));
    const files = await readAdapterFolder(casePath(`prefixes/${kind}/${method}`));
    const adapter = await loadAdapter(model, files);
    files.dispose();
    for (const [layout, rows] of Object.entries({ alone: [[0]], ...layouts }))
      for (const { document, logits } of documentLogits(model, layOut(rows, fixture.documents)))
        expect(
          largestDifference(logits, fixture.logits[name]?.[document] ?? []),
          `${layout}, ${document}`,
        ).toBeLessThan(5e-5);
    adapter.dispose();
    model.dispose();
  });
});

// Expected tokens: PEFT's `generate`, which gives the same with its cache as without; see make_prefixes.py. The
// prompts are of unequal length, so that the rows of the batch are padded.
describe('generation with the key-value cache', () => {
  const generated = JSON.parse(readFileSync(casePath('prefixes/generated.json'), 'utf8')) as Readonly<
    Record<string, readonly number[][]>
  >;
  it.each(Object.keys(generated))('continues the documents as PEFT does: %s', async (name) => {
    const [kind = '', method] = name.split('/');
    const folders =
      method === undefined
        ? [goldenPath('models', name.replace(/.*-/, '')), goldenPath('peft', name)]
        : [casePath(`prefixes/${kind}`), casePath(`prefixes/${name}`)];
    const model = await loadLanguageModel(folders[0] ?? '');
    const files = await readAdapterFolder(folders[1] ?? '');
    const adapter = await loadAdapter(model, files);
    files.dispose();
    const replies = fixture.documents.map((): number[] => []);
    for await (const { row, id } of generateIds(model, fixture.documents, { maxNewTokens: 10 })) replies[row]?.push(id);
    expect(replies).toEqual(generated[name]);
    adapter.dispose();
    model.dispose();
  });
});

describe('rows so long that attention is computed in blocks', () => {
  it.each(['prefix', 'prompt'])('give each document the logits that it has alone, with a %s', async (method) => {
    const config = JSON.parse(readFileSync(casePath('prefixes/mistral/config.json'), 'utf8')) as Record<string, never>;
    const model = createRandomModel({ ...config, max_position_embeddings: 512, initializer_range: 0.5 } as never, 3);
    const files = await readAdapterFolder(casePath(`prefixes/mistral/${method}`));
    const adapter = await loadAdapter(model, files);
    files.dispose();
    const documents = [150, 130, 20].map((length, one) =>
      Array.from({ length }, (_, at) => (at * 7 + one * 3 + (at >> 2)) % 13),
    );
    const alone = [0, 1, 2].map((one) => documentLogits(model, layOut([[one]], documents))[0]?.logits ?? []);
    for (const { document, logits } of documentLogits(model, layOut([[0, 1, 2]], documents)))
      expect(largestDifference(logits, alone[document] ?? []), String(document)).toBeLessThan(5e-5);
    adapter.dispose();
    model.dispose();
  });
});
