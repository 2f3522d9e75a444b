import { Ajv2020, type ErrorObject } from 'ajv/dist/2020.js';
import { type JsonSchema, type Problem } from '../contract/index.js';
import { didYouMean } from './did-you-mean.js';
import { formatPath, type Path } from './paths.js';
import { isObject, valueAt } from './slots.js';

/** A key that the schema does not know, with those that it knows there. */
export interface UnknownKey {
  readonly path: Path;
  readonly key: string;
  readonly known: readonly string[];
}

export interface ConfigProblem extends Problem {
  readonly path: Path;
  readonly unknownKey?: UnknownKey;
}

/**
 * An instance that agrees with everything Whetstone validates: all errors, defaults filled in, no unknown keyword;
 * schemas need not repeat types or properties in their branches.
 */
export function createAjv(): Ajv2020 {
  return new Ajv2020({
    allErrors: true,
    strict: true,
    strictTypes: false,
    strictTuples: false,
    strictRequired: false,
    useDefaults: true,
    verbose: true,
    validateFormats: false,
  });
}

/** `3`, `"lora"`, `a list of 3`, `an object`: a value as it reads in a message. */
export function describeValue(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : `a list of ${value.length}`;
  if (isObject(value)) return 'an object';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}

const pathOf = (pointer: string): string[] =>
  pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
const list = (values: readonly unknown[]) => values.map((value) => JSON.stringify(value)).join(', ');
const typeNames: Readonly<Record<string, string>> = {
  integer: 'a whole number',
  number: 'a number',
  string: 'a string',
  boolean: 'true or false',
  null: 'null',
  array: 'a list',
  object: 'an object',
};

function expectedType(type: unknown): string {
  return (Array.isArray(type) ? type : [type]).map((name) => typeNames[String(name)] ?? String(name)).join(' or ');
}

const comparisons: Readonly<Record<string, string>> = {
  minimum: 'at least',
  maximum: 'at most',
  exclusiveMinimum: 'more than',
  exclusiveMaximum: 'less than',
};

/** What a failed keyword means to a person, or undefined where another error of the same place says it better. */
function explain(error: ErrorObject): ConfigProblem | undefined {
  const path = pathOf(error.instancePath);
  const place = formatPath(path);
  const found = describeValue(error.data);
  const parent = isObject(error.parentSchema) ? error.parentSchema : {};
  const params = error.params as Readonly<Record<string, unknown>>;
  switch (error.keyword) {
    case 'if':
    case 'anyOf':
    case 'oneOf':
      return error.keyword === 'if'
        ? undefined
        : {
            path,
            message: 'None, or more than one, of the allowed forms fits.',
            expected:
              error.keyword === 'oneOf'
                ? 'exactly one of the forms that the schema lists'
                : 'one of the forms that the schema lists',
            found,
          };
    case 'additionalProperties':
    case 'unevaluatedProperties': {
      const key = String(params['additionalProperty'] ?? params['unevaluatedProperty']);
      const known = isObject(parent['properties']) ? Object.keys(parent['properties']) : [];
      return {
        path: [...path, key],
        message: `Unknown key '${key}'${place === '' ? '' : ` in ${place}`}.`,
        hint:
          didYouMean(key, known) ?? (known.length > 0 ? `Known keys: ${known.join(', ')}.` : 'No key is known here.'),
        unknownKey: { path, key, known },
      };
    }
    case 'required': {
      const key = String(params['missingProperty']);
      return {
        path: [...path, key],
        message: `'${key}' is missing${place === '' ? '' : ` in ${place}`}.`,
        expected: describeExpected(parent, key),
        found: 'nothing',
      };
    }
    case 'type':
      return { path, message: 'The value has the wrong type.', expected: expectedType(params['type']), found };
    case 'enum': {
      const values = params['allowedValues'] as readonly unknown[];
      const hint =
        typeof error.data === 'string'
          ? didYouMean(
              error.data,
              values.filter((value) => typeof value === 'string'),
            )
          : undefined;
      return {
        path,
        message: 'The value is not one of the allowed ones.',
        expected: `one of ${list(values)}`,
        found,
        ...(hint === undefined ? {} : { hint }),
      };
    }
    case 'const':
      return {
        path,
        message: 'The value is not the allowed one.',
        expected: describeValue(params['allowedValue']),
        found,
      };
    case 'minLength':
      return {
        path,
        message: 'The text is too short.',
        expected: `at least ${String(params['limit'])} character(s)`,
        found,
      };
    default: {
      const comparison = comparisons[error.keyword];
      return comparison === undefined
        ? { path, message: `The value ${error.message ?? 'is not allowed'}.`, found }
        : { path, message: 'The number is out of range.', expected: `${comparison} ${String(params['limit'])}`, found };
    }
  }
}

function describeExpected(parent: Readonly<Record<string, unknown>>, key: string): string {
  const schema = isObject(parent['properties']) ? parent['properties'][key] : undefined;
  if (!isObject(schema)) return 'a value';
  if (Array.isArray(schema['enum'])) return `one of ${list(schema['enum'])}`;
  return schema['type'] === undefined ? 'a value' : expectedType(schema['type']);
}

/**
 * Fills the defaults of `schema` into `config` (in place) and lists everything that does not fit it.
 * Where a value has the wrong type or none of several forms, only the deepest complaints are kept.
 */
export function validateAgainst(schema: JsonSchema, config: unknown): readonly ConfigProblem[] {
  const validate = createAjv().compile(schema);
  if (validate(config)) return [];
  const problems = (validate.errors ?? []).flatMap((error) => explain(error) ?? []);
  return withoutRepetition(
    problems.filter((problem) => valueAt(config, problem.path.slice(0, -1)) !== undefined || problem.path.length <= 1),
  );
}

/**
 * One complaint a place and message; "none of the forms" only where nothing else is said of that place or of what is in
 * it.
 */
function withoutRepetition(problems: readonly ConfigProblem[]): readonly ConfigProblem[] {
  const vague = (problem: ConfigProblem) => problem.message.startsWith('None, or more');
  const seen = new Set<string>();
  return problems.filter((problem) => {
    const place = formatPath(problem.path);
    if (vague(problem) && problems.some((other) => !vague(other) && formatPath(other.path).startsWith(place)))
      return false;
    const key = `${place} ${problem.message} ${problem.expected ?? ''}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}
