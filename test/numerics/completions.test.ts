import { readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createBatchSource, createConversationSource } from '@whetstone/data';
import { loadRenderer, loadTokenizer } from '@whetstone/models';

// Expected values: TRL's SFTTrainer on prompt-completion pairs, with every combination of completion_only_loss and
// assistant_only_loss.
interface Golden {
  readonly rows: Readonly<Record<'chat' | 'text', readonly object[]>>;
  readonly cases: readonly {
    readonly kind: 'chat' | 'text';
    readonly completion_only_loss: boolean | null;
    readonly assistant_only_loss: boolean;
    readonly input_ids: readonly (readonly number[])[];
    readonly labels: readonly (readonly number[])[];
  }[];
}

// The rows and their tokenizer do not depend on the seed of the other fixtures.
const goldenPath = (name: string): string => fileURLToPath(new URL(`../golden/${name}`, import.meta.url));
const golden = JSON.parse(readFileSync(goldenPath('completions/golden.json'), 'utf8')) as Golden;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'whetstone-completions-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test.each(golden.cases)(
  '$kind, completion_only_loss $completion_only_loss, assistant_only_loss $assistant_only_loss: ids and labels ' +
    'equal TRL',
  async (expected) => {
    const file = path.join(folder, 'pairs.jsonl');
    writeFileSync(file, golden.rows[expected.kind].map((row) => `${JSON.stringify(row)}\n`).join(''));
    const tokenizer = await loadTokenizer(goldenPath('tokenizers/qwen-bpe'));
    const renderer = await loadRenderer(goldenPath('tokenizers/qwen-bpe'), tokenizer);
    const source = await createBatchSource({
      source: await createConversationSource({ path: file }, folder),
      tokenizer,
      renderer,
      options: {
        batchSize: 1,
        shuffleDataset: false,
        samplingStrategy: 'sequential',
        assistantOnlyLoss: expected.assistant_only_loss,
        completionOnlyLoss: expected.completion_only_loss ?? true,
      },
    });
    const [ids, labels]: [number[][], number[][]] = [[], []];
    for await (const batch of source.epoch(0)) {
      ids.push([...batch.ids]);
      labels.push([...batch.labels]);
    }
    expect(ids).toEqual(expected.input_ids);
    // A label at the first token has no effect, because nothing predicts it.
    const counted = (rows: readonly (readonly number[])[]): number[][] => rows.map((row) => row.slice(1));
    expect(counted(labels)).toEqual(counted(expected.labels));
  },
);
