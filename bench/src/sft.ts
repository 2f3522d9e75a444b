import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findModelFolder, Trainer } from 'whetstone';
import { orderOfSteps, type Order } from './conversation-order.js';
import { numberOf, runOnce, runPeer, toParameters, type PeerLine } from './peer.js';
import { markdownTable, medianOf, ratio, report, spread, summarize, type Summary } from './report.js';
import { measureInTurns, type Contender } from './runs.js';

export interface SftBenchOptions {
  readonly model: string;
  readonly train: string;
  readonly eval: string;
  readonly steps: number;
  readonly batch: number;
  readonly maxLength: number;
  readonly loraRank: number;
  readonly lr: number;
  readonly orders: readonly Order[];
  readonly runs: number;
  readonly out?: string;
  readonly threads: number;
  readonly backend: string;
  readonly peerPython?: string;
  readonly json?: boolean;
  /** Measures one run in this process and prints it as JSON. Conversations are taken in the order of the file. */
  readonly one?: boolean;
}

/**
 * `bench sft`: the same model, adapter, optimizer and schedule as `peers/peer_trl.py`. Both sides read the same
 * conversations from the same file in the order of the file, once for each of `orders`.
 */
export async function benchSft(options: SftBenchOptions): Promise<void> {
  const { steps, batch, maxLength, loraRank, lr, threads, orders, runs, peerPython } = options;
  const folder = await mkdtemp(join(tmpdir(), 'whetstone-bench-'));
  try {
    if (options.one === true) {
      process.stdout.write(`${JSON.stringify(await trainOnce(options, folder))}\n`);
      return;
    }
    const model = await findModelFolder(options.model);
    const lines = (await readFile(options.train, 'utf8')).trim().split('\n');
    const contenders: (Contender<PeerLine> & { readonly order: Order; readonly ours: boolean })[] = [];
    for (const order of orders) {
      const train = join(folder, `${order}.jsonl`);
      await writeFile(train, orderOfSteps(lines, steps, batch, order).join('\n'));
      const flags = {
        model,
        train,
        eval: options.eval,
        steps,
        batch,
        'max-length': maxLength,
        'lora-rank': loraRank,
        lr,
        threads,
      };
      const { backend, out } = options;
      contenders.push({
        name: `whetstone, ${order}`,
        order,
        ours: true,
        measure: () =>
          runOnce('sft', { ...flags, backend, out: out === undefined ? undefined : join(out, order), one: true }),
      });
      if (peerPython !== undefined)
        contenders.push({
          name: `TRL + PEFT, ${order}`,
          order,
          ours: false,
          measure: () => runPeer(peerPython, 'peer_trl.py', toParameters(flags)),
        });
    }
    const results = await measureInTurns(contenders, runs);
    const rows = contenders.map(({ name, order, ours }, index) => {
      const of = (field: string): Summary => summarize((results[index] ?? []).map((line) => numberOf(line, field)));
      return {
        name,
        order,
        ours,
        seconds: of('seconds'),
        peakMemoryGb: of('peak_rss_gb'),
        evalLossBefore: of('eval_loss_before'),
        evalLossAfter: of('eval_loss_after'),
      };
    });
    const own = (order: Order) => rows.find((row) => row.ours && row.order === order);
    report(
      [
        `${steps} steps of ${batch} conversations, LoRA; ${medianOf(runs)}`,
        ...markdownTable(
          ['', 'seconds', 'conversations/s', 'eval loss before', 'after', 'peak memory, GB', 'speed of whetstone'],
          rows.map((row) => [
            row.name,
            spread(row.seconds, 1),
            ((steps * batch) / row.seconds.median).toFixed(2),
            spread(row.evalLossBefore, 4),
            spread(row.evalLossAfter, 4),
            spread(row.peakMemoryGb, 1),
            row.ours ? '' : ratio(row.seconds.median, own(row.order)?.seconds.median ?? NaN),
          ]),
        ),
      ],
      { steps, batch, maxLength, loraRank, lr, runs, threads, rows, results },
      options.json === true,
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** One run in this process, in the names of `peers/peer_trl.py`. */
async function trainOnce(options: SftBenchOptions, scratch: string): Promise<PeerLine> {
  const { steps, batch, maxLength, loraRank, lr, threads, backend } = options;
  const trainer = new Trainer({
    model: await findModelFolder(options.model),
    // The peer's script uses its own ChatML template, which adds no system message.
    chatTemplatePath: fileURLToPath(new URL('../peers/chatml.jinja', import.meta.url)),
    backend: { name: backend, threads },
    data: {
      train: resolve(options.train),
      eval: resolve(options.eval),
      maxLength,
      leakage: 'off',
      shuffleDataset: false,
      trainSamplingStrategy: 'sequential',
    },
    strategy: { use: 'lora', options: { rank: loraRank, alpha: 2 * loraRank, targetModules: 'all-linear' } },
    optimizer: { use: 'adamw', learningRate: lr, weightDecay: 0.01 },
    schedule: { use: 'cosine', warmupSteps: Math.max(1, Math.floor(steps / 20)) },
    training: {
      maxSteps: steps,
      perDeviceTrainBatchSize: batch,
      perDeviceEvalBatchSize: batch,
      evalStrategy: 'ends',
      saveStrategy: 'no',
      seed: 0,
    },
    output: { folder: options.out === undefined ? join(scratch, 'run') : resolve(options.out) },
  });
  trainer.on('step', ({ step, loss, seconds }) =>
    process.stderr.write(`step ${step}/${steps}  loss ${loss.toFixed(4)}  ${seconds.toFixed(2)} s\n`),
  );
  const { seconds, evalLossBefore, evalLossAfter, peakMemoryBytes } = await trainer.run();
  return {
    peer: 'whetstone',
    seconds,
    eval_loss_before: evalLossBefore,
    eval_loss_after: evalLossAfter,
    peak_rss_gb: peakMemoryBytes / 1e9,
  };
}
