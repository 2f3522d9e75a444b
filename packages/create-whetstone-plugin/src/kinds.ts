import { callback } from './templates/callback.js';
import { dataSource } from './templates/data-source.js';
import { dataTransform } from './templates/data-transform.js';
import { logger } from './templates/logger.js';
import { metric } from './templates/metric.js';
import { model } from './templates/model.js';
import { optimizer } from './templates/optimizer.js';
import { schedule } from './templates/schedule.js';
import { strategy } from './templates/strategy.js';
import type { Template } from './templates/template.js';

/** The template of each kind of plugin. */
export const templates = {
  strategy,
  callback,
  logger,
  metric,
  optimizer,
  schedule,
  'data-transform': dataTransform,
  'data-source': dataSource,
  model,
} as const satisfies Readonly<Record<string, Template>>;

/** A kind of plugin. */
export type Kind = keyof typeof templates;

/** All kinds of plugins. */
export const KINDS = Object.keys(templates) as readonly Kind[];
