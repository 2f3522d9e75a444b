import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { once } from 'node:events';
import {
  applyTransforms,
  createBatchSource,
  createConversationSource,
  createDeduplicateTransform,
  createNormalizeTransform,
  createQualityTransform,
  createRedactTransform,
  progressLine,
  threadsFor,
} from '@whetstone/data';
import type { Tokenizer } from '@whetstone/core/contract';
import { loadRenderer, loadTokenizer } from '@whetstone/models';
import { findModelFolder } from 'whetstone';
import { numberOf, runPeer, type PeerLine } from './peer.js';
import { peakMemoryBytes, ratio, report } from './report.js';

export interface DataBenchOptions {
  readonly model: string;
  readonly train: string;
  readonly conversations: number;
  readonly maxLength: number;
  /** Worker threads; without it, as many as there are cores. */
  readonly workers?: number;
  readonly peerPython?: string;
  /**
   * What the peer does: tidy, drop equal ones and tokenise; or also quality, redaction, near duplicates and marks, as
   * we do.
   */
  readonly peerWork?: string;
  readonly json?: boolean;
}

interface Dialogue {
  readonly conversation: readonly { readonly role: string; readonly content: string }[];
}

/**
 * Real dialogues, over and over, each with a made-up question and answer of words from all of them behind it; a tenth
 * of the rows repeats an earlier one. The same file in every run.
 */
async function writeConversations(file: string, train: string, count: number): Promise<void> {
  const dialogues: Dialogue[] = [];
  for await (const line of createInterface({ input: createReadStream(train) }))
    dialogues.push(JSON.parse(line) as Dialogue);
  const words = dialogues.flatMap(({ conversation }) => conversation.flatMap(({ content }) => content.split(/\s+/)));
  const stream = createWriteStream(file);
  let state = 1;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 4294967296) * below);
  };
  const sentence = (): string =>
    `${Array.from({ length: 6 + random(14) }, () => words[random(words.length)] ?? '').join(' ')}.`;
  for (let index = 0; index < count; index++) {
    const row = index % 10 === 9 ? index - 9 : index;
    state = row + 1;
    const real = dialogues[row % dialogues.length]?.conversation ?? [];
    const turns = [
      ...real,
      { role: 'user', content: `${sentence()} (ticket ${row})` },
      { role: 'assistant', content: sentence() },
    ];
    if (!stream.write(`${JSON.stringify({ messages: turns })}\n`)) await once(stream, 'drain');
  }
  stream.end();
  await once(stream, 'finish');
}

/** CPU seconds of this process so far, all of its threads. */
const cpuSeconds = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

/**
 * `bench data`: read, clean, deduplicate, render, tokenise, mark and pack, on all cores; and tokenising alone, on one.
 */
export async function benchData(options: DataBenchOptions): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'whetstone-bench-data-'));
  try {
    const file = join(folder, 'conversations.jsonl');
    await writeConversations(file, options.train, options.conversations);
    const model = await findModelFolder(options.model);
    const tokenizer = await loadTokenizer(model);
    const renderer = await loadRenderer(model, tokenizer);
    const source = await createConversationSource({ path: file }, folder);
    const workers = options.workers ?? null;
    const threads = threadsFor(source.files, { workers });

    const [started, cpuStarted] = [performance.now(), cpuSeconds()];
    const cleaned = applyTransforms(source, [
      createNormalizeTransform(),
      createQualityTransform(),
      createRedactTransform(),
      createDeduplicateTransform(),
    ]);
    let lastLine = 0;
    const batches = await createBatchSource({
      source: cleaned,
      tokenizer,
      renderer,
      options: { maxLength: options.maxLength, packing: true, samplesWithoutTargets: 'skip', workers },
      onNote: (note) => process.stderr.write(`${note}\n`),
      onProgress(progress) {
        if (progress.seconds - lastLine < 10) return;
        lastLine = progress.seconds;
        process.stderr.write(`${progressLine(progress)}\n`);
      },
    });
    let rows = 0;
    for (const batch of batches.epoch(0) as Iterable<{ readonly rows: number }>) rows += batch.rows;
    const seconds = (performance.now() - started) / 1000;
    const cpu = cpuSeconds() - cpuStarted;
    const peak = peakMemoryBytes();

    const texts: string[] = [];
    for await (const { messages, tools } of source.conversations())
      if (texts.push(renderer.render(messages, tools).text) === 20_000) break;
    const tokenizing = measureTokenizing(tokenizer, texts);
    const { summary } = batches;
    const ours = {
      conversations: options.conversations,
      kept: summary.samples,
      tokens: summary.tokens,
      packedRows: rows,
      threads,
      seconds,
      cpuSeconds: cpu,
      conversationsPerSecond: options.conversations / seconds,
      tokensPerSecond: summary.tokens / seconds,
      peakMemoryBytes: peak,
      tokenizingTokensPerSecond: tokenizing,
    };
    const lines = [
      `whole pipeline, ${threads === 0 ? 'one thread' : `${threads} worker threads`}: ${seconds.toFixed(1)} s ` +
        `(${cpu.toFixed(1)} s of CPU), ${Math.round(ours.conversationsPerSecond)} conversations/s, ` +
        `${Math.round(ours.tokensPerSecond)} tokens/s, ${Math.round(peak / 1e6)} MB at most`,
      `kept ${summary.samples} of ${options.conversations}: ${summary.tokens} tokens in ${rows} rows of ` +
        `${options.maxLength}`,
      `tokenising alone, one core: ${Math.round(tokenizing)} tokens/s of CPU time`,
    ];
    const peer =
      options.peerPython === undefined
        ? undefined
        : await measurePeer(options.peerPython, {
            folder,
            file,
            model,
            texts,
            maxLength: options.maxLength,
            processes: Math.max(1, threads),
            work: options.peerWork ?? 'less',
          });
    if (peer) {
      lines.push(
        'peer, ' +
          `${options.peerWork === 'same' ? 'whole pipeline' : 'no quality rules, redaction, near duplicates and marks'}, ` +
          `${Math.max(1, threads)} processes: ${numberOf(peer, 'seconds').toFixed(1)} s ` +
          `(${numberOf(peer, 'cpuSeconds').toFixed(1)} s of CPU), ` +
          `${Math.round(numberOf(peer, 'tokensPerSecond'))} tokens/s; we are ` +
          `${ratio(numberOf(peer, 'seconds'), seconds)} as fast, with ` +
          `${ratio(numberOf(peer, 'cpuSeconds'), cpu)} the work a CPU second`,
        `peer, tokenising alone, one core: ${Math.round(numberOf(peer, 'tokenizingTokensPerSecond'))} tokens/s ` +
          `of CPU time; we have ${ratio(tokenizing, numberOf(peer, 'tokenizingTokensPerSecond'))}`,
      );
    }
    report(lines, { ...ours, ...(peer === undefined ? {} : { peer }) }, options.json === true);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Tokens a second of CPU time, on this thread alone; the first texts warm the compiler up. */
function measureTokenizing(tokenizer: Tokenizer, texts: readonly string[]): number {
  for (const text of texts.slice(0, 2000)) tokenizer.encodeWithSpans(text);
  const begun = cpuSeconds();
  const tokens = texts.reduce((sum, text) => sum + tokenizer.encodeWithSpans(text).ids.length, 0);
  return tokens / (cpuSeconds() - begun);
}

interface PeerInputs {
  readonly folder: string;
  readonly file: string;
  readonly model: string;
  readonly texts: readonly string[];
  readonly maxLength: number;
  readonly processes: number;
  readonly work: string;
}

async function measurePeer(
  python: string,
  { folder, file, model, texts, maxLength, processes, work }: PeerInputs,
): Promise<PeerLine> {
  const textFile = join(folder, 'texts.json');
  await writeFile(textFile, JSON.stringify(texts));
  return runPeer(python, 'peer_data.py', [
    '--data',
    file,
    '--model',
    model,
    '--texts',
    textFile,
    '--max-length',
    String(maxLength),
    '--processes',
    String(processes),
    '--work',
    work,
  ]);
}
