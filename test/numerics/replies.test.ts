import { generateIds, loadLanguageModel } from '@whetstone/models';
import type { LanguageModel } from '@whetstone/core/contract';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { beamSearch, type BeamOptions } from '../../packages/models/src/generation/beam-search.js';
import type { GenerationOptions } from '../../packages/models/src/generation/options.js';
import { useBackend } from '../support/backend.js';
import { goldenPath, readGolden } from '../support/golden.js';

interface BeamCase {
  readonly model: string;
  readonly options: {
    readonly num_beams: number;
    readonly num_return_sequences?: number;
    readonly length_penalty?: number;
    readonly early_stopping?: boolean | 'never';
    readonly no_repeat_ngram_size?: number;
    readonly repetition_penalty?: number;
  };
  readonly eos: readonly number[];
  readonly prompt: readonly number[];
  readonly replies: readonly (readonly number[])[];
  readonly scores: readonly number[];
}

// Expected replies: transformers; see test/golden/replies/generate.py.
const fixture = readGolden<{
  readonly new_tokens: number;
  readonly greedy: Readonly<Record<string, { readonly prompts: number[][]; readonly replies: number[][] }>>;
  readonly beams: readonly BeamCase[];
}>('replies', 'golden.json');
const maxNewTokens = fixture.new_tokens;

beforeAll(() => useBackend('cpu'));

describe.each(Object.entries(fixture.greedy))('greedy replies of %s equal transformers', (name, golden) => {
  it.each([1, 3, 32])('%i at once', async (batchSize) => {
    const model = await loadLanguageModel(goldenPath('models', name));
    const replies = golden.prompts.map((): number[] => []);
    const tokens = generateIds(model, golden.prompts, { maxNewTokens, batchSize, chunkTokens: 5 });
    for await (const { row, id } of tokens) replies[row]?.push(id);
    model.dispose();
    expect(replies).toEqual(golden.replies);
  });
});

describe('beam search equals transformers', () => {
  const models = new Map<string, LanguageModel>();
  beforeAll(async () => {
    for (const { model } of fixture.beams)
      if (!models.has(model)) models.set(model, await loadLanguageModel(goldenPath('models', model)));
  });
  afterAll(() => models.forEach((model) => model.dispose()));

  it.each(
    fixture.beams.map((one) => [`${one.model} ${JSON.stringify(one.options)} ${one.prompt.length}`, one] as const),
  )('%s', async (_, { model, options, eos, prompt, replies, scores }) => {
    const given: GenerationOptions & BeamOptions = {
      maxNewTokens,
      beams: options.num_beams,
      stopTokenIds: eos,
      lengthPenalty: options.length_penalty,
      earlyStopping: options.early_stopping,
      noRepeatNgramSize: options.no_repeat_ngram_size,
      repetitionPenalty: options.repetition_penalty,
    };
    const found = await beamSearch(models.get(model) as LanguageModel, prompt, given);
    expect(found.slice(0, replies.length).map(({ ids }) => ids)).toEqual(replies);
    for (const [index, score] of scores.entries()) expect(found[index]?.score).toBeCloseTo(score, 4);
  });

  it('streams the best replies by row, and refuses what it cannot do', async () => {
    const {
      model: name,
      options,
      eos,
      prompt,
      replies,
    } = fixture.beams.find(({ replies: all }) => all.length > 1) as BeamCase;
    const model = models.get(name) as LanguageModel;
    const given = { maxNewTokens, beams: options.num_beams, n: replies.length, stopTokenIds: eos };
    const rows = [...replies, ...replies].map((): number[] => []);
    for await (const { row, id } of generateIds(model, [prompt, prompt], given)) rows[row]?.push(id);
    expect(rows).toEqual([...replies, ...replies]);
    await expect(generateIds(model, [prompt], { ...given, n: 9 }).next()).rejects.toMatchObject({ code: 'USAGE' });
    await expect(generateIds(model, [prompt], { ...given, temperature: 1 }).next()).rejects.toMatchObject({
      code: 'USAGE',
    });
  });
});
