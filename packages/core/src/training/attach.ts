import { WhetstoneError, isWhetstoneError } from '../contract/errors.js';
import type { BatchSource } from '../contract/data.js';
import type { LanguageModel } from '../contract/model.js';
import type { Attachment, StrategyRun } from '../contract/strategy.js';
import type { Named } from './named.js';
import type { TrainRun } from './train-run.js';
import { messageOf } from '../util/index.js';

export interface Attached {
  /** The owner first. */
  readonly all: readonly [Named<Attachment>, ...Named<Attachment>[]];
  dispose(): void;
}

/**
 * Attaches the owner, then the companions in their order. What was attached is taken off again where a later one fails.
 *
 * @throws `PLUGIN_FAILED` with the plugin's name, or the strategy's own error.
 */
export async function attachStrategies(
  { owner, companions, loaded, stage, warn }: Pick<TrainRun, 'owner' | 'companions' | 'loaded' | 'stage' | 'warn'>,
  strategyRun: StrategyRun,
): Promise<Attached> {
  const done: Named<Attachment>[] = [];
  const dispose = (): void => {
    for (const { instance } of done.toReversed()) instance.dispose();
    done.length = 0;
  };
  try {
    const first = await attach(owner, loaded, strategyRun);
    done.push(first);
    warnAboutUntrainedTokens(loaded.model, first, warn);
    stage?.importState?.(first.instance);
    for (const companion of companions)
      done.push(await attach(companion, loaded, { ...strategyRun, owner: first.instance }));
    return { all: [first, ...done.slice(1)], dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}

/** Tokens that were added and are not trained stay what they start as: the mean of all others. */
function warnAboutUntrainedTokens(
  { addedTokens, embeddingSite }: LanguageModel,
  { plugin, instance }: Named<Attachment>,
  warn: TrainRun['warn'],
): void {
  if (addedTokens.length === 0 || [...instance.trainable.keys()].some((name) => name.includes(embeddingSite.name)))
    return;
  warn(
    `'${plugin}' does not train the embeddings of the ${addedTokens.length} tokens that were added ` +
      '(model.addTokens): they stay the mean of all others.',
  );
}

async function attach(
  { plugin, instance }: TrainRun['owner'],
  { model }: TrainRun['loaded'],
  strategyRun: StrategyRun,
): Promise<Named<Attachment>> {
  try {
    return { plugin, instance: await instance.attach(model, strategyRun) };
  } catch (cause) {
    if (isWhetstoneError(cause)) throw cause;
    throw new WhetstoneError('PLUGIN_FAILED', `Strategy '${plugin}' could not be attached: ${messageOf(cause)}`, {
      details: { plugin },
      cause,
    });
  }
}

/** The training data as the strategies want it: replay mixes more in. */
export function wrapData(source: BatchSource, attachments: readonly Named<Attachment>[]): BatchSource {
  return attachments.reduce((data, { instance }) => instance.wrapData?.(data) ?? data, source);
}
