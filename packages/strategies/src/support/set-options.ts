import type { PluginContext } from '@whetstone/core/contract';

/** Returns the options that the user set, without those that only have their default. */
export const setOptions = <Options extends object>(
  options: Options,
  { isSet }: Pick<PluginContext, 'isSet'>,
): Partial<Options> =>
  isSet === undefined
    ? options
    : (Object.fromEntries(Object.entries(options).filter(([key]) => isSet(key))) as Partial<Options>);
