/** safetensors live in core, whose checkpoints are written in the same format. */
export * from '@whetstone/core/safetensors';
