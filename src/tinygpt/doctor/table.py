"""The table of keys.py: one row for each key that configs of GPTs carry.

A heading is [labels | HF class], a row is: names, * for any ending, a dot for a key in a table |
HF name, = the same | our fields | meaning. What a row leaves out at its end is none, or the
docstring of our field.
"""

__all__ = ["TABLE"]

TABLE = """
[architecture tokenizer | GPT2Config]
vocab_size | = | ModelConfig.vocab_size
[architecture training | GPT2Config]
block_size context_length context_size max_seq_len max_seq_length seq_len ctx_len context_len | \
n_positions | ModelConfig.n_positions TrainConfig.block_size | \
Longest context and length of a training window: two settings under one name.
[architecture | GPT2Config]
n_positions max_position_embeddings | n_positions | ModelConfig.n_positions
n_embd d_model hidden_size emb_dim embed_dim embedding_dim n_embed | n_embd | ModelConfig.n_embd
n_layer n_layers num_layers num_hidden_layers | n_layer | ModelConfig.n_layer
n_head n_heads num_heads num_attention_heads nhead | n_head | ModelConfig.n_head
n_inner d_ff intermediate_size ffn_dim | n_inner | ModelConfig.n_inner
activation_function activation hidden_act | activation_function | ModelConfig.activation_function
resid_pdrop | = | ModelConfig.resid_pdrop
embd_pdrop | = | ModelConfig.embd_pdrop
attn_pdrop attention_dropout | attn_pdrop | ModelConfig.attn_pdrop
dropout drop_rate dropout_rate | resid_pdrop, embd_pdrop, attn_pdrop | \
ModelConfig.resid_pdrop ModelConfig.embd_pdrop ModelConfig.attn_pdrop | \
Dropout while training: one number for three places.
layer_norm_epsilon layer_norm_eps | layer_norm_epsilon | ModelConfig.layer_norm_epsilon
initializer_range init_std | initializer_range | ModelConfig.initializer_range
tie_word_embeddings tie_weights weight_tying | tie_word_embeddings | ModelConfig.tie_word_embeddings
model_type | = | | The class of the model; gpt2 here.
model.name model.type model_name name_or_path model_name_or_path model_config | | | Which model; \
a name says no size.
architectures | = | | The Python class in transformers; GPT2LMHeadModel here.
bias qkv_bias | | | Whether layers have biases; in the GPT-2 format they always do.
head_dim head_size d_head | | | Width of one head; derived: n_embd / n_head.
scale_attn_weights | = | | Scale of the attention scores; true is GPT-2.
scale_attn_by_inverse_layer_idx | = | | Another scale of the attention scores; false is GPT-2.
add_cross_attention | = | | Attention to an encoder; false is GPT-2.
is_encoder_decoder | = | | Whether there is an encoder; false is GPT-2.
[tokenizer generation | GPT2Config]
bos_token_id | = | ModelConfig.bos_token_id GenerationConfig.bos_token_id | Id that starts a text.
eos_token_id | = | ModelConfig.eos_token_id GenerationConfig.eos_token_id | Id that ends a text.
[tokenizer | GPT2Config]
pad_token_id | = | | Id that fills short rows of a batch.
tokenizer_class | = | | The Python class that reads the tokenizer files.
[tokenizer]
tokenizer | | TokenizerConfig.tokenizer
tokenizer_name tokenizer.name tokenizer.type tokenizer_dir tokenizer_path \
bos_token eos_token unk_token pad_token add_prefix_space | | | Of the tokenizer's \
own files.
meta_vocab_size | | | Vocabulary size that nanoGPT read from its data.
[data]
corpus dataset dataset_name data_dir data_path input_file text_file train_file dataset.name \
dataset.path data.path | | \
CorpusConfig.corpus
sha256 | | CorpusConfig.sha256
val_split train_split val_fraction test_size validation_split_percentage | | | Share of the text \
that is held out; tinygpt always takes the last 10%.
line_by_line | | | Cut the text at line ends, an option of old HF scripts.
dataset_config_name max_train_samples max_eval_samples shuffle | | | Choice of training texts.
[data | TrainingArguments]
data_seed remove_unused_columns group_by_length dataloader_drop_last label_names \
length_column_name train_sampling_strategy | = | | Order and columns of the training data.
[training | TrainingArguments]
batch_size micro_batch_size per_device_train_batch_size | per_device_train_batch_size | \
TrainConfig.batch_size
gradient_accumulation_steps grad_accum_steps | gradient_accumulation_steps | \
TrainConfig.gradient_accumulation_steps
max_steps max_iters max_iterations num_steps n_steps train_steps total_steps | max_steps | \
TrainConfig.max_steps
save_every save_steps save_interval | save_steps | TrainConfig.save_every
seed random_seed | seed | TrainConfig.seed
learning_rate lr max_lr | learning_rate | OptimConfig.learning_rate
warmup_steps warmup_iters lr_warmup_steps lr_warmup_iters | warmup_steps | OptimConfig.warmup_steps
weight_decay wd | weight_decay | OptimConfig.weight_decay
beta1 adam_beta1 | adam_beta1 | OptimConfig.beta1
beta2 adam_beta2 | adam_beta2 | OptimConfig.beta2
betas | adam_beta1, adam_beta2 | OptimConfig.beta1 OptimConfig.beta2 | AdamW's two decays.
adam_epsilon adam_eps | adam_epsilon | OptimConfig.adam_epsilon
grad_clip grad_norm_clip max_grad_norm clip_grad_norm | max_grad_norm | OptimConfig.grad_clip
num_train_epochs num_epochs epochs n_epochs max_epochs | num_train_epochs | | Passes over the \
text; tinygpt's budget is minutes or max_steps.
eval_interval eval_every eval_steps | eval_steps | | Steps between evaluations; tinygpt counts \
the evaluations: n_evals.
eval_batch_size per_device_eval_batch_size | per_device_eval_batch_size | | Windows per forward \
pass while evaluating.
lr_scheduler_type lr_schedule scheduler scheduler.name scheduler.type | lr_scheduler_type | | \
Shape of the learning rate's decay; tinygpt's is linear.
warmup_ratio | = | | Warm-up as a share of the budget; tinygpt counts steps: warmup_steps.
optimizer | optim | OptimConfig.optimizer
optim optimizer.name optimizer.type optimizer.class_path | optim | | \
The optimizer; tinygpt's are Muon and AdamW: optimizer.
label_smoothing_factor label_smoothing | label_smoothing_factor | | Softens the targets; 0 is none.
eval_strategy evaluation_strategy save_strategy | = | | When to evaluate and save.
load_best_model_at_end metric_for_best_model greater_is_better | = | | Which weights are kept; \
tinygpt keeps the last.
lr_scheduler_kwargs optim_args optim_target_modules neftune_noise_alpha full_determinism \
average_tokens_across_devices eval_delay eval_on_start eval_accumulation_steps batch_eval_metrics \
eval_do_concat_batches eval_use_gather_object prediction_loss_only include_for_metrics \
include_num_input_tokens_seen save_only_model ignore_data_skip | = | | A detail of HF's Trainer.
[training]
global_batch_size total_batch_size | | | Windows of one optimizer step: micro-batches x their \
size (x machines).
devices num_nodes n_gpus world_size | | | How many machines share a step; tinygpt's is one.
eval.* evaluation.* val.* valid.* validation.* | | | Of the evaluation; tinygpt's own are n_evals \
and eval_tokens.
minutes max_minutes | | TrainConfig.minutes
n_evals | | TrainConfig.n_evals
eval_tokens | | TrainConfig.eval_tokens
final_learning_rate min_lr | | OptimConfig.final_learning_rate
eval_iters | | | Batches per evaluation; tinygpt counts tokens: eval_tokens.
lr_decay_iters lr_decay_steps | | | Step at which the decay ends; tinygpt's ends with the budget.
decay_lr | | | Whether the learning rate decays; tinygpt's always does.
[generation | GenerationConfig]
temperature | = | GenerationConfig.temperature
top_k | = | GenerationConfig.top_k
top_p | = | GenerationConfig.top_p
min_p | = | GenerationConfig.min_p
repetition_penalty | = | GenerationConfig.repetition_penalty
max_new_tokens | = | GenerationConfig.max_new_tokens
stop_strings stop | stop_strings | GenerationConfig.stop_strings
do_sample | = | GenerationConfig.temperature | false takes the most likely token: temperature 0.
num_samples num_return_sequences | num_return_sequences | | How many texts are sampled.
max_length | = | | Length of prompt and text together; tinygpt counts the new: max_new_tokens.
typical_p no_repeat_ngram_size num_beams length_penalty early_stopping \
min_length min_new_tokens penalty_alpha diversity_penalty num_beam_groups bad_words_ids max_time \
top_h epsilon_cutoff eta_cutoff encoder_repetition_penalty encoder_no_repeat_ngram_size \
renormalize_logits suppress_tokens begin_suppress_tokens sequence_bias token_healing \
guidance_scale watermarking_config remove_invalid_values exponential_decay_length_penalty \
decoder_start_token_id dola_layers constraints force_words_ids forced_* | = | | Another way to \
choose tokens.
[generation]
start prompt | | | Text to go on from.
task_specific_params | | | Where old HF files kept generation settings.
prefix | | | Text that old HF pipelines put before a prompt.
[runtime | TrainingArguments]
out_dir output_dir work_dir | output_dir | | Folder of the run.
log_interval logging_steps | logging_steps | | Steps between lines of the log.
compile torch_compile | torch_compile | | Whether torch compiles the model.
backend ddp_backend | ddp_backend | | How several processes talk.
num_workers dataloader_num_workers | dataloader_num_workers | | Processes that load data.
wandb_log report_to | report_to | | Where curves are sent.
wandb_run_name run_name | run_name | | Name under which curves are sent.
gradient_checkpointing | = | | Compute activations twice to save memory.
bf16 fp16 tf32 use_cpu local_rank disable_tqdm push_to_hub resume_from_checkpoint do_train \
do_eval do_predict overwrite_output_dir save_total_limit deepspeed auto_find_batch_size debug \
log_on_each_node save_on_each_node project enable_jit_checkpoint use_liger_kernel \
liger_kernel_config skip_memory_metrics torch_empty_cache_steps accelerator_config \
parallelism_config restore_callback_states_from_checkpoint bf16_* fp16_* activation_checkpointing* \
gradient_checkpointing_* torch_compile_* trackio_* dataloader_* ddp_* fsdp* hub_* log_level* \
logging_* | = | | How and where the program runs.
[runtime | GenerationConfig]
use_mtp output_scores output_logits max_cache_len is_assistant prompt_lookup_num_tokens \
max_matching_ngram_size target_lookbehind speculation_type compile_config disable_compile \
continuous_batching_config low_memory prefill_chunk_size _from_model_config cache_* assistant_* \
num_assistant_* | = | | How generation runs.
[runtime | GPT2Config]
dtype torch_dtype | dtype | | Precision of the numbers.
use_cache output_attentions output_hidden_states return_dict return_dict_in_generate \
use_return_dict chunk_size_feed_forward reorder_and_upcast_attn | = | | How a forward pass runs.
[runtime]
device precision threads n_threads device_map attn_implementation _attn_implementation | | | \
The machine.
init_from eval_only always_save_checkpoint resume logger_name | | | \
What a training script does first or saves.
wandb_* wandb.* logger.* | | | Where curves are sent.
class_path | | | A Python class that a config names; the doctor runs none.
tinygpt_version from data.n_* data.source data.text | | | What a run of tinygpt notes about itself.
[dead | GPT2Config]
n_ctx | n_positions | | An old name that nothing reads; n_positions counts.
summary_* id2label label2id num_labels _num_labels problem_type | = | | Of classifiers; a \
language model never reads it.
n_special predict_special_tokens output_past | | | Of the first GPT; nothing reads it.
transformers_version _name_or_path | = | | Who wrote the file; nothing reads it.
quantization_config | | | Of a compressed copy of the weights; tinygpt does not read it.
auto_map trust_remote_code | | | Names code to run from a repository; tinygpt never does.
"""
