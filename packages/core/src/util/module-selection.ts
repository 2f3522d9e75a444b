import { boundedPattern, type Pattern } from './within-time.js';

/** The fields of `adapter_config.json` by which PEFT selects modules, in camelCase. */
export interface ModuleSelection {
  readonly targetModules: string | readonly string[];
  readonly excludeModules: string | readonly string[] | null;
  readonly layersToTransform: number | readonly number[] | null;
  readonly layersPattern: string | readonly string[] | null;
  readonly modulesToSave: readonly string[] | null;
}

/** Compiles a regular expression of a field. `written` is the text of the field, without what matching adds. */
export type CompilePattern = (source: string, field: keyof ModuleSelection, written: string) => Pattern;

/** Parts of Python's regular expressions that JavaScript writes differently. It reads some of them as plain text. */
const translations: readonly (readonly [RegExp, string])[] = [
  [/^\\A/, '^'],
  [/^\\Z/, '$'],
  [/^\{,(\d+)\}/, '{0,$1}'],
  [/^\(\?P</, '(?<'],
  [/^\(\?P=(\w+)\)/, '\\k<$1>'],
];

/** An escaped character, a set of characters, or a single one. */
const token = /^(?:\\[\s\S]|\[\^?\]?(?:\\[\s\S]|[^\]\\])*\]|[\s\S])/;

/**
 * Compiles a regular expression with which PEFT selects modules. It may contain what both languages have, and also the
 * anchors `\A` and `\Z`, named groups and `{,n}` of Python.
 *
 * @throws `SyntaxError` if it is invalid
 */
export function compilePython(source: string): RegExp {
  let translated = '';
  for (let rest = source; rest !== '';) {
    const translation = translations.find(([python]) => python.test(rest));
    const [found = ''] = (translation?.[0] ?? token).exec(rest) ?? [];
    translated += translation === undefined ? found : found.replace(translation[0], translation[1]);
    rest = rest.slice(found.length);
  }
  return new RegExp(translated);
}

const compilePlain: CompilePattern = (source) => boundedPattern(compilePython(source));

/** Returns whether `name` is one of the keys, or ends with one after a dot, as PEFT matches lists of modules. */
export function matchesName(name: string, keys: readonly string[]): boolean {
  return keys.some((key) => name === key || name.endsWith(`.${key}`));
}

const asList = <T>(value: T | readonly T[] | null): readonly T[] =>
  value === null ? [] : Array.isArray(value) ? (value as readonly T[]) : [value as T];

/**
 * Returns the layer of a module or parameter: the first number in its path, as in `model.layers.3.mlp.up_proj` or
 * `transformer.h.3.attn.c_attn`; null outside of the layers.
 *
 * @param patterns If not empty, the number must follow one of these regular expressions (PEFT's `layers_pattern`).
 */
export function layerIndexOf(
  path: string,
  patterns: readonly string[] = [],
  compile: CompilePattern = compilePlain,
): number | null {
  const expressions =
    patterns.length === 0
      ? [/^.*?\.[^.]*\.(\d+)\./]
      : patterns.map((pattern) => compile(`^(?:(?:^|.*?\\.)${pattern}\\.(\\d+)\\.)`, 'layersPattern', pattern));
  for (const expression of expressions) {
    const index = expression.exec(path)?.[1];
    if (index !== undefined) return Number(index);
  }
  return null;
}

function isExcluded(
  name: string,
  { excludeModules, modulesToSave }: ModuleSelection,
  compile: CompilePattern,
): boolean {
  if (
    typeof excludeModules === 'string' &&
    excludeModules !== '' &&
    compile(`^(?:${excludeModules})$`, 'excludeModules', excludeModules).test(name)
  )
    return true;
  if (Array.isArray(excludeModules) && matchesName(name, excludeModules as readonly string[])) return true;
  // A module that is trained completely does not get an adapter.
  return (modulesToSave ?? []).some((key) => compile(`(^|.*\\.)${key}($|\\..*)`, 'modulesToSave', key).test(name));
}

/** Returns whether a module is in the layers of `layersToTransform`; true for all modules if it is not set. */
function isInLayers(
  name: string,
  { layersToTransform, layersPattern }: ModuleSelection,
  compile: CompilePattern,
): boolean {
  const layers = asList(layersToTransform);
  if (layers.length === 0) return true;
  const patterns = asList(layersPattern).filter((pattern) => pattern !== '');
  const layer = layerIndexOf(name, patterns, compile);
  return layer !== null && layers.includes(layer);
}

/**
 * Returns whether a selection contains a module, by PEFT's rules. PEFT refuses `layers_to_transform` with `all-linear`
 * or a regular expression; here it selects layers among them.
 *
 * @param isLinear whether `all-linear` contains the module: a linear layer other than the output layer
 * @throws what `compile` throws if a regular expression is invalid
 */
export function selectsModule(
  name: string,
  isLinear: boolean,
  selection: ModuleSelection,
  compile: CompilePattern = compilePlain,
): boolean {
  const { targetModules } = selection;
  if (isExcluded(name, selection, compile)) return false;
  if (typeof targetModules === 'string') {
    const isMatch =
      targetModules.toLowerCase() === 'all-linear'
        ? isLinear
        : compile(`^(?:${targetModules})$`, 'targetModules', targetModules).test(name);
    return isMatch && isInLayers(name, selection, compile);
  }
  // PEFT adapts a module that is listed with its full path in any layer.
  return targetModules.includes(name) || (matchesName(name, targetModules) && isInLayers(name, selection, compile));
}
