import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { once } from 'node:events';
import { applyTransforms, createBatchSource, createConversationSource, createDeduplicateTransform, createNormalizeTransform, createQualityTransform, createRedactTransform } from '@whetstone/data';
import { loadRenderer, loadTokenizer } from '@whetstone/models';
import { findModelFolder } from 'whetstone';
import { numberOf, runPeer, type PeerLine } from './peer.js';
import { peakMemoryBytes, ratio, report } from './report.js';

export interface DataBenchOptions {
  readonly model: string;
  readonly train: string;
  readonly conversations: number;
  readonly maxLength: number;
  readonly peerPython?: string;
  readonly json?: boolean;
}

interface Dialogue {
  readonly conversation: readonly { readonly role: string; readonly content: string }[];
}

/** Real dialogues, over and over: each round puts other numbers and another dialogue's turns behind them, a tenth of the rows repeats an earlier one. */
async function writeConversations(file: string, train: string, count: number): Promise<void> {
  const dialogues: Dialogue[] = [];
  for await (const line of createInterface({ input: createReadStream(train) })) dialogues.push(JSON.parse(line) as Dialogue);
  const stream = createWriteStream(file);
  const at = (index: number): Dialogue['conversation'] => dialogues[index % dialogues.length]?.conversation ?? [];
  for (let index = 0; index < count; index++) {
    const row = index % 10 === 9 ? index - 9 : index;
    const [first, second] = [at(row), at(row * 7 + Math.floor(row / dialogues.length) * 31 + 1)];
    const turns = [...first, ...second].map(({ role, content }) => ({ role, content: role === 'user' ? `${content} (ticket ${row})` : content }));
    if (!stream.write(`${JSON.stringify({ messages: turns })}\n`)) await once(stream, 'drain');
  }
  stream.end();
  await once(stream, 'finish');
}

/** `bench data`: read, clean, deduplicate, render, tokenise, mark and pack, in one process; and tokenising alone. */
export async function benchData(options: DataBenchOptions): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'whetstone-bench-data-'));
  try {
    const file = join(folder, 'conversations.jsonl');
    await writeConversations(file, options.train, options.conversations);
    const model = await findModelFolder(options.model);
    const tokenizer = await loadTokenizer(model);
    const renderer = await loadRenderer(model, tokenizer);
    const source = await createConversationSource({ path: file }, folder);

    const texts: string[] = [];
    for await (const { messages, tools } of source.conversations()) if (texts.push(renderer.render(messages, tools).text) === 20_000) break;
    const begun = performance.now();
    let alone = 0;
    for (const text of texts) alone += tokenizer.encodeWithSpans(text).ids.length;
    const tokenizing = { texts: texts.length, tokens: alone, seconds: (performance.now() - begun) / 1000 };

    const started = performance.now();
    const cleaned = applyTransforms(source, [createNormalizeTransform(), createQualityTransform(), createRedactTransform(), createDeduplicateTransform()]);
    const batches = await createBatchSource({ source: cleaned, tokenizer, renderer, options: { maxLength: options.maxLength, packing: true, samplesWithoutTargets: 'skip' } });
    let rows = 0;
    for (const batch of batches.epoch(0) as Iterable<{ readonly rows: number }>) rows += batch.rows;
    const seconds = (performance.now() - started) / 1000;
    const { summary } = batches;
    const ours = {
      conversations: options.conversations,
      kept: summary.samples,
      tokens: summary.tokens,
      packedRows: rows,
      seconds,
      conversationsPerSecond: options.conversations / seconds,
      tokensPerSecond: summary.tokens / seconds,
      tokenizingTokensPerSecond: tokenizing.tokens / tokenizing.seconds,
      peakMemoryBytes: peakMemoryBytes(),
    };
    const lines = [
      `tokenising alone, one core: ${Math.round(ours.tokenizingTokensPerSecond)} tokens/s`,
      `whole pipeline, one core: ${seconds.toFixed(1)} s, ${Math.round(ours.conversationsPerSecond)} conversations/s, ${Math.round(ours.tokensPerSecond)} tokens/s, ${Math.round(ours.peakMemoryBytes / 1e6)} MB at most`,
    ];
    const peer = options.peerPython === undefined ? undefined : await measurePeer(options.peerPython, { folder, file, model, texts, maxLength: options.maxLength });
    if (peer) {
      lines.push(
        `peer, tokenising alone: ${Math.round(numberOf(peer, 'tokenizingTokensPerSecond'))} tokens/s; we have ${ratio(ours.tokenizingTokensPerSecond, numberOf(peer, 'tokenizingTokensPerSecond'))}`,
        `peer, whole pipeline: ${numberOf(peer, 'seconds').toFixed(1)} s; we are ${ratio(numberOf(peer, 'seconds'), seconds)} as fast`,
      );
    }
    report(lines, { ...ours, ...(peer === undefined ? {} : { peer }) }, options.json === true);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface PeerInputs {
  readonly folder: string;
  readonly file: string;
  readonly model: string;
  readonly texts: readonly string[];
  readonly maxLength: number;
}

async function measurePeer(python: string, { folder, file, model, texts, maxLength }: PeerInputs): Promise<PeerLine> {
  const textFile = join(folder, 'texts.json');
  await writeFile(textFile, JSON.stringify(texts));
  return runPeer(python, 'peer_data.py', ['--data', file, '--model', model, '--texts', textFile, '--max-length', String(maxLength)]);
}
