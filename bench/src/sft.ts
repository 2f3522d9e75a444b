import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findModelFolder, Trainer } from 'whetstone';
import { numberOf, runPeer, type PeerLine } from './peer.js';
import { ratio, report } from './report.js';

export interface SftBenchOptions {
  readonly model: string;
  readonly train: string;
  readonly eval: string;
  readonly steps: number;
  readonly batch: number;
  readonly maxLength: number;
  readonly loraRank: number;
  readonly lr: number;
  readonly groupByLength?: boolean;
  readonly out?: string;
  readonly threads: number;
  readonly backend: string;
  readonly peerPython?: string;
  readonly json?: boolean;
}

/**
 * The work of `peers/peer_trl.py`: the same model, conversations, steps, batches, lengths, adapter, optimizer and
 * schedule.
 */
export async function benchSft(options: SftBenchOptions): Promise<void> {
  const { steps, batch, maxLength, loraRank, lr, threads, backend, peerPython } = options;
  const model = await findModelFolder(options.model);
  const grouped = options.groupByLength === true;
  const peers: PeerLine[] = [];
  // As it comes, and with batches of one length, which is faster and teaches worse: one after the other, so that none
  // runs beside another.
  if (peerPython !== undefined) {
    for (const more of [[], ['--group-by-length']]) {
      peers.push(
        await runPeer(peerPython, 'peer_trl.py', [
          ...commandLine({
            model,
            train: options.train,
            eval: options.eval,
            steps,
            batch,
            'max-length': maxLength,
            'lora-rank': loraRank,
            lr,
            threads,
          }),
          ...more,
        ]),
      );
    }
  }
  const scratch = options.out === undefined ? await mkdtemp(join(tmpdir(), 'whetstone-bench-')) : null;
  try {
    const trainer = new Trainer({
      model,
      // The peer's script brings its own ChatML, which writes no system message of its own accord.
      chatTemplatePath: fileURLToPath(new URL('../peers/chatml.jinja', import.meta.url)),
      backend: { name: backend, threads },
      data: {
        train: resolve(options.train),
        eval: resolve(options.eval),
        maxLength,
        leakage: 'off',
        trainSamplingStrategy: grouped ? 'group_by_length' : 'random',
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
      output: { folder: options.out === undefined ? join(scratch ?? '', 'run') : resolve(options.out) },
    });
    trainer.on('step', ({ step, loss, seconds }) =>
      process.stderr.write(`step ${step}/${steps}  loss ${loss.toFixed(4)}  ${seconds.toFixed(2)} s\n`),
    );
    const ours = await trainer.run();
    const lines = [
      `whetstone: ${ours.seconds.toFixed(1)} s, ${ours.samplesPerSecond.toFixed(2)} conversations/s, ` +
        `evaluation loss ${ours.evalLossBefore?.toFixed(4)} → ${ours.evalLossAfter?.toFixed(4)}, ` +
        `${(ours.peakMemoryBytes / 1e9).toFixed(1)} GB`,
    ];
    for (const peer of peers) {
      const name = `${String(peer['peer'])}${peer['group_by_length'] === true ? ' --group-by-length' : ''}`;
      lines.push(
        `${name}: ${numberOf(peer, 'seconds').toFixed(1)} s, ` +
          `${((numberOf(peer, 'steps') * batch) / numberOf(peer, 'seconds')).toFixed(2)} conversations/s, ` +
          `evaluation loss ${numberOf(peer, 'eval_loss_before').toFixed(4)} → ` +
          `${numberOf(peer, 'eval_loss_after').toFixed(4)}, ${numberOf(peer, 'peak_rss_gb').toFixed(1)} GB`,
        `speed, ours to theirs: ${ratio(numberOf(peer, 'seconds'), ours.seconds)}; memory: ` +
          `${ratio(ours.peakMemoryBytes / 1e9, numberOf(peer, 'peak_rss_gb'))}`,
      );
    }
    report(
      lines,
      {
        ...ours,
        ...(peers.length === 0 ? {} : { peers, ratios: peers.map((peer) => numberOf(peer, 'seconds') / ours.seconds) }),
      },
      options.json === true,
    );
  } finally {
    if (scratch !== null) await rm(scratch, { recursive: true, force: true });
  }
}

const commandLine = (values: Readonly<Record<string, string | number>>): string[] =>
  Object.entries(values).flatMap(([name, value]) => [`--${name}`, String(value)]);
