import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Batch, Message } from '@whetstone/core/contract';
import { createBatchSource, createConversationSource } from '@whetstone/data';
import { loadRenderer, loadTokenizer } from '@whetstone/models';
import { goldenPath, readGolden } from '../support/golden.js';

// Expected values: the prepared rows and all microbatches of TRL's SFTTrainer for the same conversations.
interface Golden {
  readonly arguments: {
    readonly per_device_train_batch_size: number;
    readonly max_length: number;
    readonly packing: boolean;
  };
  readonly messages: readonly (readonly Message[])[];
  readonly dataset_rows: {
    readonly input_ids: readonly (readonly number[])[];
    readonly labels: readonly (readonly number[])[];
    readonly seq_lengths?: readonly (readonly number[])[];
  };
  readonly micro_batches: readonly {
    readonly input_ids: readonly (readonly number[])[];
    readonly labels: readonly (readonly number[])[];
    readonly position_ids?: readonly (readonly number[])[];
  }[];
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'whetstone-sft-data-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function batchesOf(golden: Golden): Promise<Batch[]> {
  const file = path.join(folder, 'train.jsonl');
  writeFileSync(file, golden.messages.map((messages) => `${JSON.stringify({ messages })}\n`).join(''));
  const tokenizer = await loadTokenizer(goldenPath('tokenizers', 'qwen-bpe'));
  const source = await createBatchSource({
    source: await createConversationSource({ path: file }, folder),
    tokenizer,
    renderer: await loadRenderer(goldenPath('tokenizers', 'qwen-bpe'), tokenizer),
    options: {
      batchSize: golden.arguments.per_device_train_batch_size,
      maxLength: golden.arguments.max_length,
      packing: golden.arguments.packing,
      shuffleDataset: false,
      samplingStrategy: 'sequential',
    },
  });
  const batches: Batch[] = [];
  for await (const batch of source.epoch(0)) batches.push(batch);
  return batches;
}

/** Returns the values of each row without padding. */
function rowsOf(batches: readonly Batch[], values: (batch: Batch) => Int32Array): number[][] {
  return batches.flatMap((batch) =>
    Array.from({ length: batch.rows }, (_, row) =>
      [...values(batch).subarray(row * batch.length, (row + 1) * batch.length)].filter(
        (_value, index) => batch.segmentIds[row * batch.length + index] !== 0,
      ),
    ),
  );
}

describe.each(['sft', 'sft-lora', 'sft-packing'])('the batches of TRL: %s', (name) => {
  const golden = readGolden<Golden>('trajectories', name, 'golden.json');

  test('ids and labels equal TRL', async () => {
    const batches = await batchesOf(golden);
    expect(rowsOf(batches, ({ ids }) => ids)).toEqual(golden.dataset_rows.input_ids);
    if (golden.arguments.packing) {
      const epoch = golden.micro_batches.slice(0, batches.length);
      expect(rowsOf(batches, ({ labels }) => labels)).toEqual(epoch.map(({ labels }) => labels[0]));
      expect(rowsOf(batches, ({ positionIds }) => positionIds)).toEqual(
        epoch.map(({ position_ids: positions }) => positions?.[0]),
      );
      return;
    }
    expect(rowsOf(batches, ({ labels }) => labels)).toEqual(golden.dataset_rows.labels);
    batches.forEach((batch, index) => {
      const other = golden.micro_batches[index];
      expect([batch.rows, batch.length]).toEqual([other?.input_ids.length, other?.input_ids[0]?.length]);
      expect([...batch.labels]).toEqual(other?.labels.flat());
    });
  });
});
