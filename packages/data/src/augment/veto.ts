import { WhetstoneError, type Conversation, type Message, type PluginContext } from '@whetstone/core/contract';
import { exists } from '@whetstone/core/files';
import path from 'node:path';
import type { TransformLog } from '../transforms/transform-log.js';
import type { SynonymOptions } from './options.js';

/** Rejects copies that a model finds much less likely than their originals. */
export interface Veto {
  /** Returns the copies whose loss is at most `maxLossIncrease` above that of the original; counts the others. */
  accepted(
    original: Conversation,
    copies: readonly (readonly Message[])[],
    log: TransformLog,
  ): Promise<readonly (readonly Message[])[]>;
  /** Disposes of the model, if one was loaded for the veto. */
  close(): void;
}

type LossMeter = Awaited<ReturnType<NonNullable<PluginContext['openLossMeter']>>>;

/**
 * Creates a veto. Losses are the mean over the tokens of the messages that can change, in nats. The model is opened for
 * the first copy.
 *
 * @throws `PLUGIN_FAILED` from `accepted`, if the application cannot measure losses
 */
export function createVeto(
  {
    maxLossIncrease,
    model,
    roles,
    baseFolder,
  }: Pick<SynonymOptions, 'model' | 'roles'> & { readonly maxLossIncrease: number; readonly baseFolder: string },
  openLossMeter: PluginContext['openLossMeter'],
): Veto {
  let meter: Promise<LossMeter> | null = null;
  const open = (): Promise<LossMeter> => {
    if (openLossMeter === undefined)
      throw new WhetstoneError('PLUGIN_FAILED', 'This program cannot measure the loss of copies.', {
        hint: 'Set "maxLossIncrease" to null, or use the trainer or the command-line tool of the package "whetstone".',
      });
    if (model === null) return openLossMeter(null);
    const folder = path.resolve(baseFolder, model);
    return openLossMeter(exists(folder) ? folder : model);
  };
  return {
    async accepted(original, copies, log) {
      if (copies.length === 0) return copies;
      meter ??= open();
      const { measure } = await meter;
      const marked = [original.messages, ...copies].map((messages) => ({
        ...original,
        messages: messages.map((message) => ({ ...message, train: roles.includes(message.role) })),
      }));
      const [before = null, ...after] = await measure(marked);
      return copies.filter((_, index) => {
        const loss = after[index] ?? null;
        const fits = before === null || loss === null || loss - before <= maxLossIncrease;
        if (!fits) log.changed('rejected: loss');
        return fits;
      });
    },
    close() {
      void meter?.then((opened) => opened.dispose());
      meter = null;
    },
  };
}
