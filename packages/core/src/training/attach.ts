import { WhetstoneError, isWhetstoneError } from '../contract/errors.js';
import type { BatchSource } from '../contract/data.js';
import type { LanguageModel } from '../contract/model.js';
import type { Attachment, StrategyRun } from '../contract/strategy.js';
import { asOutOfMemory } from '../memory/index.js';
import type { Named } from './named.js';
import type { TrainRun } from './train-run.js';
import { counted, isRecord, messageOf } from '../util/index.js';
import { readExported, validateAttachment } from './validate-attachment.js';

export interface Attached {
  /** All attachments; the owner is the first. */
  readonly all: readonly [Named<Attachment>, ...Named<Attachment>[]];
  /**
   * Disposes all attachments, the last first.
   *
   * @param failed whether an error is already reported, so that one of a `dispose` must not replace it
   * @throws `PLUGIN_FAILED` if a `dispose` throws; all others are called
   */
  dispose(failed: boolean): void;
}

/**
 * Attaches the owner, then the companions in their order. If one fails, those attached before it are disposed.
 *
 * @throws `PLUGIN_INVALID` if an attachment is malformed
 * @throws `PLUGIN_FAILED` with the plugin's name, or the strategy's own error
 */
export async function attachStrategies(
  { owner, companions, loaded, stage, warn }: Pick<TrainRun, 'owner' | 'companions' | 'loaded' | 'stage' | 'warn'>,
  strategyRun: StrategyRun,
): Promise<Attached> {
  const attached: Named<Attachment>[] = [];
  const dispose = (failed: boolean): void => {
    const failures: unknown[] = [];
    for (const { instance } of attached.splice(0).toReversed()) {
      try {
        instance.dispose();
      } catch (failure) {
        failures.push(failure);
      }
    }
    if (failures.length > 0 && !failed) throw failures[0];
  };
  try {
    const ownerAttachment = await attach(owner, loaded, strategyRun);
    attached.push(ownerAttachment);
    await readExported(owner, ownerAttachment.instance, loaded.model);
    warnAboutUntrainedTokens(loaded.model, ownerAttachment, warn);
    await stage?.importState?.(ownerAttachment.instance);
    for (const companion of companions)
      attached.push(await attach(companion, loaded, forCompanion(strategyRun, ownerAttachment.instance)));
    return { all: [ownerAttachment, ...attached.slice(1)], dispose };
  } catch (error) {
    dispose(true);
    throw error;
  }
}

/** Returns the run as a companion sees it. What changes during the run is read when the companion needs it. */
const forCompanion = (run: StrategyRun, owner: Attachment): StrategyRun => ({
  ...run,
  owner,
  get totalSteps() {
    return run.totalSteps;
  },
  get stopped() {
    return run.stopped;
  },
});

/**
 * Warns if the embeddings of added tokens are not trained. They then keep their initial value, the mean of all others.
 */
function warnAboutUntrainedTokens(
  { addedTokens, embeddingSite }: LanguageModel,
  { plugin, instance }: Named<Attachment>,
  warn: TrainRun['warn'],
): void {
  if (addedTokens.length === 0 || [...instance.trainable.keys()].some((name) => name.includes(embeddingSite.name)))
    return;
  warn(
    `'${plugin}' does not train the embeddings of ` +
      `${counted(addedTokens.length, 'token that was', 'tokens that were')} added ` +
      '(model.addTokens): each keeps its initial value, the mean of all others.',
  );
}

async function attach(
  { plugin, instance }: TrainRun['owner'],
  { model }: TrainRun['loaded'],
  strategyRun: StrategyRun,
): Promise<Named<Attachment>> {
  let attached: unknown = null;
  try {
    attached = await instance.attach(model, Object.freeze(strategyRun));
    return { plugin, instance: await validateAttachment(attached, plugin, instance.role, model) };
  } catch (cause) {
    disposeInvalid(attached);
    if (isWhetstoneError(cause)) throw asOutOfMemory(cause, `Attaching the strategy '${plugin}'`);
    throw new WhetstoneError('PLUGIN_FAILED', `Strategy '${plugin}' could not be attached: ${messageOf(cause)}`, {
      details: { plugin },
      cause,
    });
  }
}

/** Disposes an attachment that was refused, if it can be disposed. */
function disposeInvalid(attachment: unknown): void {
  if (!isRecord(attachment) || typeof attachment['dispose'] !== 'function') return;
  try {
    (attachment as { dispose(): void }).dispose();
  } catch {
    // The reason for which it was refused is reported.
  }
}

/** Returns the training data after all strategies have wrapped it, for example with the samples of replay. */
export function wrapData(source: BatchSource, attachments: readonly Named<Attachment>[]): BatchSource {
  return attachments.reduce((data, { instance }) => instance.wrapData?.(data) ?? data, source);
}
