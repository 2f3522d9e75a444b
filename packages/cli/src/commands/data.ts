import { randomBytes } from 'node:crypto';
import { writeSync } from 'node:fs';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import {
  batchSchema,
  WhetstoneError,
  type ChatRenderer,
  type DataSource,
  type DataTransform,
  type QualityGate,
  type Tokenizer,
} from '@whetstone/core/contract';
import {
  analyseData,
  checkGate,
  checkUnreadable,
  cleanRows,
  describeProof,
  enforceGate,
  findLeaks,
  formatInspection,
  inspectConversation,
  leakageError,
  progressLine,
  proveSupervision,
  readGate,
  reportToHtml,
  type BatchOptions,
  type ReadingProgress,
  type ThreadOptions,
} from '@whetstone/data/internal';
import {
  applyTransforms,
  createConversationSource,
  createDeduplicateTransform,
  createNormalizeTransform,
  createQualityTransform,
  createRedactTransform,
} from '@whetstone/data';
import { TRUNCATION_MODES, type LayoutName } from '@whetstone/data/choices';
import { loadRenderer, loadTokenizer } from '@whetstone/models';
import { findModelFolder } from '../fetched-models.js';
import { table, transformTable } from '../format.js';
import { createLossMeter } from '../loss-meter.js';
import { openModel } from '../open-model.js';
import { createTerminal, type Terminal } from '../terminal.js';

const { maxLength: lengthSchema, truncationMode: truncationSchema } = batchSchema.properties;

/** Options of everything that reads data. */
export interface DataOptions {
  readonly json?: boolean;
  readonly layout?: string;
  readonly model?: string;
  readonly chatTemplate?: string;
  readonly maxLength?: number;
  readonly truncationMode?: string;
  /** Worker threads; by default as many as there are cores. */
  readonly workers?: number;
}

function truncationModeOf({ truncationMode = truncationSchema.default }: DataOptions): BatchOptions['truncationMode'] {
  const mode = TRUNCATION_MODES.find((name) => name === truncationMode);
  if (mode === undefined)
    throw new WhetstoneError('USAGE', `Unknown truncation mode "${truncationMode}".`, {
      expected: TRUNCATION_MODES.join(', '),
    });
  return mode;
}

/** Reports progress: one line that is redrawn on a terminal, otherwise a line every few seconds. */
function showProgress(terminal: Terminal): (progress: ReadingProgress) => void {
  let last = 0;
  return (progress) => {
    if (progress.seconds - last < 5) return;
    last = progress.seconds;
    terminal.line(progressLine(progress));
  };
}

const threadsOf = ({ workers }: DataOptions, terminal: Terminal): ThreadOptions => ({
  workers: workers ?? null,
  onNote: (note) => terminal.line(note),
  onProgress: showProgress(terminal),
});

const read = (paths: readonly string[], { layout }: DataOptions): Promise<DataSource> =>
  createConversationSource({ path: paths, layout: (layout ?? 'auto') as LayoutName | 'auto' }, process.cwd());

/** Loads the tokenizer and chat template of a model without its weights. */
async function openTokenizing(
  model: string,
  chatTemplate?: string,
): Promise<{ tokenizer: Tokenizer; renderer: ChatRenderer }> {
  const folder = await findModelFolder(model);
  const tokenizer = await loadTokenizer(folder);
  return { tokenizer, renderer: await loadRenderer(folder, tokenizer, { chatTemplatePath: chatTemplate ?? null }) };
}

/** Writes a file atomically: `fill` receives a function that appends to it. */
async function writeWhole(
  file: string,
  fill: (write: (part: string | Uint8Array) => void) => Promise<void> | void,
): Promise<void> {
  const temporary = `${file}.${randomBytes(6).toString('hex')}.partial`;
  try {
    const handle = await open(temporary, 'wx');
    try {
      await fill((part) => {
        const bytes = typeof part === 'string' ? Buffer.from(part) : part;
        for (let done = 0; done < bytes.length;) done += writeSync(handle.fd, bytes, done);
      });
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } finally {
    await rm(temporary, { force: true });
  }
}

async function openGate(file: string): Promise<QualityGate> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    throw new WhetstoneError('CONFIG_UNREADABLE', `The quality gate cannot be read: ${(cause as Error).message}`, {
      place: { file },
      cause,
    });
  }
  return readGate(value);
}

/** `whetstone data report FILES`: writes an HTML page about a data set; `--json` prints the same as data. */
export async function dataReport(
  paths: readonly string[],
  options: DataOptions & {
    readonly out: string;
    readonly gate?: string;
    readonly losses?: number;
    readonly backend?: string;
  },
): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const gate = options.gate === undefined ? {} : await openGate(options.gate);
  const { model, chatTemplate, backend, losses = 200 } = options;
  const maxLength = options.maxLength ?? lengthSchema.default;
  const source = await read(paths, options);
  const opened = model === undefined || losses === 0 ? null : await openModel(model, { backend, chatTemplate });
  const tokenizing = opened ?? (model === undefined ? undefined : await openTokenizing(model, chatTemplate));
  if (opened)
    terminal.line(
      `Measuring the loss of up to ${losses} conversations with ${basename(opened.folder)} on ` +
        `${opened.backend.backend} (--losses sets the number; 0 for none)`,
    );
  const report = await analyseData({
    title: paths.map((path) => basename(path)).join(', '),
    source,
    options: { maxLength, truncationMode: truncationModeOf(options) },
    threads: threadsOf(options, terminal),
    tokenizing,
    lossesOf: opened === null ? undefined : createLossMeter(opened, maxLength),
    lossSample: losses,
  }).finally(() => opened?.dispose());
  const file = resolve(options.out);
  await writeWhole(file, (write) => write(reportToHtml(report, checkGate(report, gate))));
  const { conversations, duplicates, suspects, unreadable, scores } = report;
  terminal.line(
    table([
      ['conversations', String(conversations)],
      ['mean score', `${scores.mean.toFixed(0)} of 100`],
      ['duplicates', `${duplicates.exact} exact, ${duplicates.near} near`],
      ['suspects', String(suspects.count)],
      ['unreadable rows', String(unreadable.count)],
      ...(report.difficulty
        ? [
            [
              'mean loss',
              `${report.difficulty.losses.mean.toFixed(2)} of ${report.difficulty.losses.count} conversations`,
            ],
          ]
        : []),
      ...(report.tokens
        ? [['tokens', `${report.tokens.total}, of which ${report.tokens.supervised} are supervised`]]
        : []),
    ]),
  );
  terminal.line(`The report is in ${file}`);
  terminal.result({ file, report });
  enforceGate(report, gate);
}

/**
 * `whetstone data inspect FILES --model MODEL`: verifies the supervision and prints the first conversations as the
 * model sees them, supervised tokens in colour.
 */
export async function dataInspect(
  paths: readonly string[],
  options: DataOptions & { readonly model: string; readonly count: number },
): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const tokenizing = await openTokenizing(options.model, options.chatTemplate);
  const batching = { maxLength: options.maxLength ?? lengthSchema.default, truncationMode: truncationModeOf(options) };
  const inspections = [];
  for await (const conversation of (await read(paths, options)).conversations()) {
    if (inspections.length === options.count) break;
    const inspection = inspectConversation(conversation, tokenizing, batching);
    inspections.push({ origin: conversation.origin, ...inspection });
    terminal.line(terminal.paint.bold(`${conversation.origin.file ?? ''}:${conversation.origin.line ?? 0}`));
    terminal.line(formatInspection(inspection, { colors: terminal.paint.isColorSupported }));
  }
  const source = await read(paths, options);
  if (inspections.length > 0)
    terminal.line(
      terminal.paint.isColorSupported
        ? `${terminal.paint.black(terminal.paint.bgGreen('supervised'))}  ${terminal.paint.dim('context')}  ` +
            `${terminal.paint.red(terminal.paint.strikethrough('cut off'))}\n`
        : '⟦supervised⟧  context  ⟨cut off⟩\n',
    );
  const proof = await proveSupervision({
    source,
    ...tokenizing,
    options: batching,
    threads: threadsOf(options, terminal),
  });
  for (const { text, good } of describeProof(proof))
    terminal.line(`${good ? terminal.paint.green('✓') : terminal.paint.red('✗')} ${text}`);
  terminal.result({ inspections, proof });
}

/** `whetstone data leaks TRAIN EVAL`: an error where evaluation data is also in the training data. */
export async function dataLeaks(train: string, evaluation: string, options: DataOptions): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const source = await read([train], options);
  const leaks = await findLeaks(source, await read([evaluation], options));
  // What cannot be read may leak, too.
  if (leaks.count === 0) checkUnreadable(source.unreadable);
  if (leaks.count > 0) throw leakageError(leaks);
  terminal.line('No conversation of the evaluation data is in the training data.');
  terminal.result({ leaks: 0 });
}

const cleaners: Readonly<Record<string, () => DataTransform>> = {
  'normalize-text': createNormalizeTransform,
  'quality-filter': createQualityTransform,
  redact: createRedactTransform,
  deduplicate: createDeduplicateTransform,
};

/**
 * `whetstone data clean FILES --out FILE`: writes the remaining, cleaned conversations as JSON Lines, and reports why
 * others were removed.
 */
export async function dataClean(
  paths: readonly string[],
  options: DataOptions & { readonly out: string; readonly with: readonly string[]; readonly removals?: string },
): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const transforms = options.with.map((name) => {
    const create = cleaners[name];
    if (!create)
      throw new WhetstoneError('USAGE', `Unknown cleaner "${name}".`, {
        expected: Object.keys(cleaners).join(', '),
      });
    return create();
  });
  const source = applyTransforms(await read(paths, options), transforms);
  const file = resolve(options.out);
  await writeWhole(file, async (write) => {
    await cleanRows(source, write, threadsOf(options, terminal));
    checkUnreadable(source.unreadable);
  });
  if (options.removals !== undefined) {
    await writeWhole(resolve(options.removals), (write) => {
      for (const { name, removals } of source.reports)
        for (const removal of removals) write(`${JSON.stringify({ transform: name, ...removal })}\n`);
    });
  }
  terminal.line(transformTable(source.reports));
  terminal.line(`The remaining conversations are in ${file}`);
  terminal.result({ file, transforms: source.reports.map(({ removals: _removals, ...report }) => report) });
}
