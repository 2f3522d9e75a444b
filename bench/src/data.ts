import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  applyTransforms,
  createBatchSource,
  createConversationSource,
  createDeduplicateTransform,
  createNormalizeTransform,
  createQualityTransform,
  createRedactTransform,
} from '@whetstone/data';
import { progressLine, threadsFor } from '@whetstone/data/internal';
import type { Tokenizer } from '@whetstone/core/contract';
import { loadRenderer, loadTokenizer } from '@whetstone/models';
import { findModelFolder } from 'whetstone';
import { writeCorpus, type Corpus } from './corpora.js';
import { numberOf, runOnce, runPeer, toParameters, type PeerLine } from './peer.js';
import { markdownTable, medianOf, peakMemoryBytes, ratio, report, spread, summarize, type Summary } from './report.js';
import { measureInTurns, type Contender } from './runs.js';

export interface DataBenchOptions {
  readonly model: string;
  readonly corpus: Corpus;
  readonly train: string;
  readonly conversations: number;
  readonly maxLength: number;
  /** Worker threads; without it, as many as there are cores. */
  readonly workers?: number;
  readonly runs: number;
  readonly peerPython?: string;
  /** `same`: the peer does all that we do. `less`: it tidies, drops exact duplicates and tokenises. `both`: both. */
  readonly peerWork: 'less' | 'same' | 'both';
  readonly json?: boolean;
  /** Measures one run in this process, on the files `data` and `texts`, and prints it as JSON. */
  readonly one?: boolean;
  readonly data?: string;
  readonly texts?: string;
}

/** CPU seconds of this process so far, all of its threads. */
const cpuSeconds = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

/** Both sides render with this template: it marks the assistant's part, which the model's own does not. */
const chatTemplatePath = fileURLToPath(new URL('../peers/chatml.jinja', import.meta.url));

/** Texts for tokenising alone: the first ones warm up the tokenizer of each side and are not timed. */
const [WARM_UP_TEXTS, TIMED_TEXTS] = [2_000, 18_000];

/**
 * `bench data`: read, clean, deduplicate, render, tokenise, mark and pack, on all cores; and tokenising alone, on one.
 * Each run is a process of its own, so that no tokenizer has seen the texts before.
 */
export async function benchData(options: DataBenchOptions): Promise<void> {
  if (options.one === true) {
    process.stdout.write(`${JSON.stringify(await measureRun(options))}\n`);
    return;
  }
  const { corpus, conversations, runs, maxLength, peerPython, peerWork } = options;
  const folder = await mkdtemp(join(tmpdir(), 'whetstone-bench-data-'));
  try {
    const model = await findModelFolder(options.model);
    const data = join(folder, 'conversations.jsonl');
    await writeCorpus(data, corpus, options.train, conversations);
    const texts = join(folder, 'texts.json');
    await writeFile(texts, JSON.stringify(await renderedTexts(model, data)));
    const { files } = await createConversationSource({ path: data }, folder);
    const threads = threadsFor(files, { workers: options.workers ?? null });
    const processes = Math.max(1, threads);
    const flags = { model, data, texts, 'max-length': maxLength };
    const peer = (python: string, work: 'less' | 'same'): Contender<PeerLine> => ({
      name: work === 'same' ? 'datasets + tokenizers, the same work' : 'datasets + tokenizers, less work',
      measure: () => runPeer(python, 'peer_data.py', toParameters({ ...flags, processes, work })),
    });
    const contenders: Contender<PeerLine>[] = [
      {
        name: 'whetstone',
        measure: () => runOnce('data', { ...flags, conversations, workers: options.workers, one: true }),
      },
      ...(peerPython === undefined || peerWork === 'less' ? [] : [peer(peerPython, 'same')]),
      ...(peerPython === undefined || peerWork === 'same' ? [] : [peer(peerPython, 'less')]),
    ];
    const results = await measureInTurns(contenders, runs);
    const rows = contenders.map(({ name }, index) => summarizeRuns(name, results[index] ?? []));
    report(
      describe(rows, options, threads),
      { corpus, conversations, maxLength, runs, threads, rows, results },
      options.json === true,
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface DataRow {
  readonly name: string;
  readonly kept: Summary;
  readonly tokens: Summary;
  readonly seconds: Summary;
  readonly cpuSeconds: Summary;
  readonly peakMemoryBytes: Summary;
  readonly tokenizingTokensPerSecond: Summary;
}

function summarizeRuns(name: string, lines: readonly PeerLine[]): DataRow {
  const of = (field: string): Summary => summarize(lines.map((line) => numberOf(line, field)));
  return {
    name,
    kept: of('kept'),
    tokens: of('tokens'),
    seconds: of('seconds'),
    cpuSeconds: of('cpuSeconds'),
    peakMemoryBytes: of('peakMemoryBytes'),
    tokenizingTokensPerSecond: of('tokenizingTokensPerSecond'),
  };
}

function describe(
  rows: readonly DataRow[],
  { corpus, conversations, runs, peerWork }: DataBenchOptions,
  threads: number,
): string[] {
  const [own] = rows;
  const speed = (row: DataRow): string =>
    row === own || own === undefined ? '' : ratio(row.seconds.median, own.seconds.median);
  return [
    `${conversations} conversations of the corpus ${corpus}, ${threads === 0 ? 'one thread' : `${threads} threads`}; ` +
      `${medianOf(runs)}`,
    ...markdownTable(
      ['', 'seconds', 'CPU seconds', 'conversations/s', 'kept', 'tokens', 'speed of whetstone', 'tokenising alone'],
      rows.map((row) => [
        row.name,
        spread(row.seconds, 1),
        spread(row.cpuSeconds, 1),
        (conversations / row.seconds.median).toFixed(0),
        String(row.kept.median),
        String(row.tokens.median),
        speed(row),
        `${spread(summarize(row.tokenizingTokensPerSecond.values.map((value) => value / 1e6)))} M tokens/s of CPU time`,
      ]),
    ),
    ...(rows.length > 1 && peerWork !== 'same'
      ? ['Less work: no quality rules, redaction, near duplicates and marks of what is learned.']
      : []),
    ...rows
      .slice(0, 1)
      .map(({ name, peakMemoryBytes: peak }) => `${name}: ${Math.round(peak.median / 1e6)} MB of memory at most`),
  ];
}

/** The first conversations as the template writes them: what both sides tokenise alone. */
async function renderedTexts(model: string, data: string): Promise<string[]> {
  const tokenizer = await loadTokenizer(model);
  const renderer = await loadRenderer(model, tokenizer, { chatTemplatePath });
  const source = await createConversationSource({ path: data }, tmpdir());
  const texts: string[] = [];
  for await (const { messages, tools } of source.conversations())
    if (texts.push(renderer.render(messages, tools).text) === WARM_UP_TEXTS + TIMED_TEXTS) break;
  return texts;
}

/** One run in this process, in the names of `peers/peer_data.py`. */
async function measureRun(options: DataBenchOptions): Promise<PeerLine> {
  const { data = '', texts = '', model, maxLength, workers = null } = options;
  const tokenizer = await loadTokenizer(model);
  const renderer = await loadRenderer(model, tokenizer, { chatTemplatePath });
  const source = await createConversationSource({ path: data }, tmpdir());
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
    options: { maxLength, packing: true, samplesWithoutTargets: 'skip', workers },
    onNote: (note) => process.stderr.write(`${note}\n`),
    onProgress(progress) {
      if (progress.seconds - lastLine < 10) return;
      lastLine = progress.seconds;
      process.stderr.write(`${progressLine(progress)}\n`);
    },
  });
  let packedRows = 0;
  for (const batch of batches.epoch(0) as Iterable<{ readonly rows: number }>) packedRows += batch.rows;
  const seconds = (performance.now() - started) / 1000;
  const cpu = cpuSeconds() - cpuStarted;
  const { summary } = batches;
  return {
    peer: 'whetstone',
    kept: summary.samples,
    tokens: summary.tokens,
    packedRows,
    seconds,
    cpuSeconds: cpu,
    peakMemoryBytes: peakMemoryBytes(),
    // A tokenizer of its own: the one above has seen these texts.
    tokenizingTokensPerSecond: measureTokenizing(
      await loadTokenizer(model),
      JSON.parse(await readFile(texts, 'utf8')) as string[],
    ),
  };
}

/** Tokens per second of CPU time, on this thread alone. */
function measureTokenizing(tokenizer: Tokenizer, texts: readonly string[]): number {
  const warmUp = warmUpTexts(texts.length);
  for (const text of texts.slice(0, warmUp)) tokenizer.encodeWithSpans(text);
  const begun = cpuSeconds();
  const tokens = texts.slice(warmUp).reduce((sum, text) => sum + tokenizer.encodeWithSpans(text).ids.length, 0);
  return tokens / (cpuSeconds() - begun);
}

/** How many of the texts warm up a tokenizer, on both sides. */
const warmUpTexts = (count: number): number => Math.min(WARM_UP_TEXTS, Math.floor(count / 10));
