// Written by `make page-types` from the OpenAPI schema: the documents of the API.

export interface Adding {
  name: "adding";
  length: number;
}

export interface Advice {
  field: string;
  given: any;
  problem: string;
  allowed: string;
}

export interface AttemptView {
  number: number;
  pack_id: string;
  from_step: number;
  outcome: string | null;
  cause: string | null;
  reason: string | null;
  log: string | null;
  started_at: string;
  ended_at: string | null;
}

export interface AuditPage {
  entries: (AuditView)[];
  next_before: number | null;
}

export interface AuditView {
  id: number;
  at: string;
  owner: string | null;
  token_id: string | null;
  action: string;
  subject: string | null;
  client: string;
  status: number;
  reason: string | null;
}

export interface BestSoFar {
  device: string;
  device_hours: number;
  points: (EndedTrial)[];
  ended: number;
}

export interface BestSoFarOfSweep {
  id: string;
  points: ([number, number])[];
}

export interface BestSoFarPage {
  sweeps: (BestSoFarOfSweep)[];
}

export interface CheckpointView {
  step: number;
  path: string;
  objective: number | null;
  at: string;
  download: string;
  missing: string | null;
}

export interface CheckpointsSpec {
  keep: ("best" | "last")[];
  keep_every: number | null;
}

export interface ClassCounts {
  label: string;
  train: number | null;
  validation: number;
  test: number;
}

export interface ClusterView {
  parts: Record<string, ComponentView>;
  queue: Queue;
}

export interface ComparisonView {
  first: number;
  second: number;
  verdict: "better" | "worse" | "not told apart";
  n: number;
  difference: number | null;
  sd: number | null;
  interval: [number, number] | null;
  reason: string | null;
}

export interface ComponentView {
  healthy: boolean;
  message: string;
  at?: string | null;
  detail?: Record<string, any>;
}

export interface Copy {
  name: "copy";
  length: number;
}

export interface Counts {
  total: number;
  waiting: number;
  running: number;
  succeeded: number;
  pruned: number;
  failed: number;
  cancelled: number;
}

export interface CurveBand {
  step: number;
  trials: number;
  lower: number;
  median: number;
  upper: number;
}

export interface DataStatistics {
  train: number;
  validation: number;
  test: number;
  majority_class: string | null;
  majority_share: number | null;
  constant_score: number | null;
  constant_loss: number | null;
  unlearned: NamedFew;
  shared_validation: number;
  shared_test: number;
  constant: NamedFew;
  merged: NamedFew;
  merged_values: [number, number] | null;
  swapped_axes: boolean;
  probe: SingleReading | null;
}

export interface DataSummary {
  task: string;
  source: string;
  files: (string)[];
  format: string;
  kind: "classification" | "regression" | "language";
  every_step: boolean;
  series: number | null;
  steps: Spread | null;
  inputs: [number, number] | null;
  image: [number, number] | null;
  feature_count: number;
  features: (FeatureSummary)[];
  missing: number;
  without_target: number;
  class_count: number;
  classes: (ClassCounts)[];
  outputs: (OutputSummary)[];
  sets: SetSizes;
  first: FirstSeries | null;
  tokens: TokenSummary | null;
  warnings: (DataWarning)[];
}

export interface DataWarning {
  problem: string;
  advice: string;
}

export interface DatasetInfo {
  length: number;
  features: number;
  classes: (string)[] | null;
  outputs: number | null;
  baseline: number | null;
  digest: string | null;
  statistics: DataStatistics | null;
}

export interface DeviceHours {
  cpu: number;
  gpu: number;
}

export interface Digits {
  name: "digits";
}

export interface DryRun {
  trials: number;
  points: number;
  repeats: number;
  excluded_points: number;
  shapes: (number)[];
  packs: (number)[];
  checkpoint_bytes: number;
  estimate: Estimate;
  warnings: (Advice)[];
}

export interface EarlyStoppingSpec {
  kind: "none" | "asha" | "hyperband" | "median" | "patience" | "threshold";
  min_steps: number | null;
  reduction: number | null;
  brackets: number | null;
  patience: number | null;
  min_delta: number | null;
  threshold: number | null;
}

export interface EndedTrial {
  ended: number;
  number: number;
  device_hours: number;
  objective: number | null;
  best: number | null;
}

export interface Estimate {
  packs: number;
  workers: number;
  seconds: SecondsRange | null;
  device_hours: DeviceHours | null;
  peak_memory_bytes: number;
  gpu_memory_bytes: number | null;
  reasons: (EstimateReason)[];
}

export interface EstimateReason {
  about: "trials" | "packs" | "workers" | "seconds" | "device_hours" | "peak_memory_bytes";
  reason: string;
}

export interface EventView {
  seq: number;
  kind: string;
  trial_id: string | null;
  data: Record<string, any>;
  at: string;
}

export interface FeatureSummary {
  name: string;
  min: number | null;
  mean: number | null;
  max: number | null;
  missing: number;
}

export interface Field {
  field: string;
  given: any;
  problem: string;
  allowed: string;
}

export interface FieldImportance {
  path: string;
  share: number;
  trials: number;
}

export interface FirstSeries {
  features: (string)[];
  steps: ((number | null)[])[];
  targets: (string)[];
}

export interface FurtherObjectiveSpec {
  metric: string;
  direction: "minimize" | "maximize" | null;
}

export interface GradientNorms {
  times: (number)[];
  norms: ([number, (number)[]])[];
}

export interface Grid {
  reflectors: ([number, number])[];
  margins: (number)[];
  cells: ((GridCell | null)[])[];
  details: ((PlaneCell)[])[];
  scale: RobustScale;
}

export interface GridCell {
  count: number;
  best: number;
  mean: number;
}

export interface Images {
  facts: Record<string, DatasetInfo>;
  name: "images";
  dataset: string;
  steps: number | null;
  order: "rows" | "columns" | "permuted";
  validation: number;
  split_seed: number;
}

export interface Importance {
  fields: (FieldImportance)[];
  trials: number;
  best: number;
  notes: (string)[];
}

export interface LearningCurves {
  best: (TrialCurve)[];
  others: (CurveBand)[];
  other_trials: number;
  left_out: number;
  not_finite: number;
}

export interface Liveness {
  status: "alive";
}

export interface LogLine {
  id: string;
  at: string;
  attempt: number;
  stream: "stdout" | "stderr" | "log" | "warning" | "note";
  level: string | null;
  text: string;
}

export interface Logs {
  trial_id: string;
  state: "waiting" | "running" | "succeeded" | "pruned" | "failed" | "cancelled";
  reason: string | null;
  attempts: (AttemptView)[];
  events: (EventView)[];
  lines: (LogLine)[];
  more_lines: boolean;
}

export interface MetricCurve {
  number: number;
  points: ([number, number])[];
}

export interface MetricLikenessView {
  name: string;
  likeness: "equal" | "equal to rounding" | "different" | "nothing in common";
  steps: number;
  largest: number;
  largest_step: number | null;
  first_step: number | null;
}

export interface MetricsPoint {
  step: number;
  at: string;
  values: Record<string, number | null>;
}

export interface Mnist {
  name: "mnist";
  steps: number;
  order: "rows" | "permuted";
}

export interface ModelSpec {
  kind: "spectral_rnn" | "spectral_lstm" | "spectral_gru" | "spectral_mlp" | "spectral_resnet" | "rnn" | "irnn" | "lstm" | "gru" | "ornn" | "exprnn" | "mlp" | "resnet";
  hidden_size: number;
  layers: number;
  embedding_size: number | null;
  activation: "relu" | "leaky_relu" | "tanh" | "identity" | "modrelu" | null;
  reflectors: number | null;
  reflectors_u: number | null;
  reflectors_v: number | null;
  margin: number | null;
  sigma: number | null;
  start: "gaussian" | "identity" | "henaff" | "cayley" | null;
}

export interface ModelView {
  trial_id: string;
  uri: string;
  mlflow_url: string;
  snippet: string;
  torch_snippet: string;
}

export interface NamedFew {
  count: number;
  names: (string)[];
}

export interface ObjectiveSpec {
  metric: string | null;
  direction: "minimize" | "maximize" | null;
  statistic: "mean" | "median" | "min" | "max";
}

export interface ObjectiveView {
  metric: string;
  direction: "minimize" | "maximize";
}

export interface OutputSummary {
  name: string;
  min: number;
  mean: number;
  max: number;
}

export interface OwnData {
  facts: Record<string, DatasetInfo>;
  name: "own_data";
  file: string;
  validation_file: string | null;
  test_file: string | null;
  kind: "classification" | "regression";
  every_step: boolean;
  targets: (string)[];
  inputs: (string)[] | null;
  series: string | null;
  step: string | null;
  uneven: boolean;
  missing: "refuse" | "interpolate";
  normalize: boolean;
  validation: number;
  test: number;
  split_seed: number;
}

export interface ParallelAxis {
  name: string;
  log: boolean;
  ticks: ([number, string])[];
  hidden: number;
}

export interface ParallelLine {
  number: number;
  heights: (number | null)[];
}

export interface ParallelPlot {
  axes: (ParallelAxis)[];
  lines: (ParallelLine)[];
  left_out: number;
}

export interface ParetoFront {
  metrics: (string)[];
  directions: (string)[];
  front: (ParetoTrial)[];
  others: (ParetoTrial)[];
  left_out: number;
  reference: (number)[];
  hypervolume: ([number, number])[];
}

export interface ParetoTrial {
  number: number;
  trial_id: string;
  values: (number)[];
}

export interface PlaneCell {
  state: "result" | "not_finite" | "failed" | "cancelled" | "open" | "missing";
  trials: number;
  failed: number;
  not_finite: number;
  results: number;
  best: number | null;
  mean: number | null;
  sd: number | null;
  off_scale: boolean;
}

export interface PlanePoint {
  trial_id: string;
  number: number;
  reflectors: [number, number];
  margin: number;
  objective: number;
}

export interface PointComparison {
  objective: ObjectiveView;
  confidence: number;
  points: (PointView)[];
  comparisons: (ComparisonView)[];
}

export interface PointPage {
  objective: ObjectiveView;
  statistic: "mean" | "median" | "min" | "max";
  points: (PointView)[];
  next_cursor: string | null;
}

export interface PointView {
  number: number;
  params: Record<string, any>;
  objective: number | null;
  n: number;
  mean: number | null;
  sd: number | null;
  interval: [number, number] | null;
  reason: string | null;
  best_trial: string | null;
  repeats: (RepeatView)[];
}

export interface PriorResult {
  params: Record<string, boolean | number | string>;
  objective: number;
}

export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  errors: (Field)[];
}

export interface Progress {
  done: number;
  total: number;
}

export interface PruningRuleView {
  name: string;
  summary: string;
  json_schema: Record<string, any>;
}

export interface PtbChar {
  name: "ptb_char";
  length: number;
  train_on: "train" | "valid";
}

export interface PtbWord {
  name: "ptb_word";
  length: number;
  train_on: "train" | "valid";
}

export interface Queue {
  waiting_trials: number;
  running_trials: number;
  open_packs: number;
}

export interface Range {
  when: Record<string, (boolean | number | string)[]> | null;
  low: number;
  high: number;
  log: boolean;
  grid: number | null;
  step: number | null;
}

export interface Readiness {
  ready: boolean;
  degraded: boolean;
  waiting_for: (string)[];
  parts: Record<string, ComponentView>;
}

export interface RepeatView {
  trial_id: string;
  number: number;
  seed: number;
  state: "waiting" | "running" | "succeeded" | "pruned" | "failed" | "cancelled";
  objective: number | null;
}

export interface ResourcesSpec {
  gpus: number;
  cpus: number;
  memory: number | string | null;
  labels: Record<string, string>;
  pack_size: "auto" | number;
}

export interface RetriesSpec {
  user: number;
  infrastructure: number;
  preemption: number;
}

export interface RobustScale {
  low: number;
  high: number;
  log: boolean;
  below: number;
  above: number;
}

export interface SamplerView {
  name: string;
  summary: string;
  use_when: string;
  takes_trials: boolean;
  max_trials: number;
  learns: boolean;
  options: Record<string, any>;
}

export interface SearchSpec {
  sampler: "grid" | "random" | "sobol" | "halton" | "tpe" | "cma_es" | "gp";
  seed: number;
  trials: number | null;
  options: Record<string, any>;
  enqueue: (Record<string, boolean | number | string>)[];
  warm_start: WarmStart | null;
  constraints: (string)[];
}

export interface SecondsRange {
  expected: number;
  low: number;
  high: number;
}

export interface SetSizes {
  train: number | null;
  validation: number;
  test: number;
}

export interface SettingDifference {
  field: string;
  first: any;
  second: any;
}

export interface SingleReading {
  reading: string;
  score: number;
  loss: number | null;
  alone: boolean;
}

export interface SingularValues {
  low: number | null;
  high: number | null;
  ends: ([number, number, number])[];
  shares: ([number, (number)[]])[];
}

export interface Spread {
  min: number;
  median: number;
  max: number;
}

export interface SweepCurves {
  sweep_id: string;
  metric: string;
  metrics: (string)[];
  curves: (MetricCurve)[];
}

export interface SweepData {
  sweep_id: string;
  sets: (DataSummary)[];
  unreadable: (UnreadableData)[];
  count: number;
}

export interface SweepPage {
  sweeps: (SweepSummary)[];
  next_cursor: string | null;
}

export interface SweepReport {
  sweep_id: string;
  objective: ObjectiveView;
  objectives: (ObjectiveView)[];
  leaderboard: (TrialView)[];
  points: (PointView)[];
  grid: Grid | null;
  places: (PlanePoint)[];
  warnings: (Advice)[];
  importance: Importance | null;
  learning_curves: LearningCurves | null;
  best_so_far: BestSoFar | null;
  parallel_coordinates: ParallelPlot | null;
  pareto: ParetoFront | null;
  diagnostics: TrialDiagnostics | null;
}

export interface SweepSpec {
  name: string;
  tags: (string)[];
  task: Adding | Copy | Digits | Mnist | Images | PtbChar | PtbWord | Text | OwnData | Ucr;
  model: ModelSpec;
  training: TrainingSpec;
  space: Record<string, Values | Range>;
  search: SearchSpec;
  repeats: number;
  early_stopping: EarlyStoppingSpec;
  objective: ObjectiveSpec;
  further_objectives: (FurtherObjectiveSpec)[];
  resources: ResourcesSpec;
  priority: number;
  max_parallel: number | null;
  retries: RetriesSpec;
  checkpoints: CheckpointsSpec;
  replays: string | null;
  experiment: string | null;
}

export interface SweepSummary {
  id: string;
  name: string;
  owner: string;
  tags: (string)[];
  archived: boolean;
  task: string;
  state: "queued" | "running" | "paused" | "stopping" | "cancelling" | "succeeded" | "failed" | "stopped" | "cancelled";
  reason: string | null;
  priority: number;
  max_parallel: number | null;
  waiting_for: string | null;
  queue_position: number | null;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
  trials: Counts;
  progress: Progress;
  eta_at: string | null;
  seconds_left: number | null;
  eta_reason: string | null;
  objective: ObjectiveView;
  best_objective: number | null;
  planned_steps: number;
  last_event: number;
  links: Record<string, string>;
}

export interface SweepView {
  id: string;
  name: string;
  owner: string;
  tags: (string)[];
  archived: boolean;
  task: string;
  state: "queued" | "running" | "paused" | "stopping" | "cancelling" | "succeeded" | "failed" | "stopped" | "cancelled";
  reason: string | null;
  priority: number;
  max_parallel: number | null;
  waiting_for: string | null;
  queue_position: number | null;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
  trials: Counts;
  progress: Progress;
  eta_at: string | null;
  seconds_left: number | null;
  eta_reason: string | null;
  objective: ObjectiveView;
  best_objective: number | null;
  planned_steps: number;
  last_event: number;
  links: Record<string, string>;
  best: TrialView | null;
  best_point: PointView | null;
  mlflow_url: string | null;
  mlflow_lacks: Record<string, string>;
  checkpoint_bytes: number;
  warnings: (Advice)[];
  spec: Record<string, any>;
}

export interface TaskView {
  name: string;
  summary: string;
  metrics: Record<string, "minimize" | "maximize">;
  json_schema: Record<string, any>;
}

export interface Text {
  name: "text";
  file: string;
  level: "char" | "word";
  length: number;
  vocabulary: number | null;
  validation: number;
  test: number;
}

export interface TokenSummary {
  vocabulary: number;
  unknown: number;
  first: (string)[];
}

export interface TrainingSpec {
  steps: number;
  batch_size: number;
  optimizer: "adam" | "adamw" | "rmsprop" | "sgd";
  lr: number;
  beta1: number | null;
  beta2: number | null;
  alpha: number | null;
  momentum: number | null;
  schedule: "constant" | "cosine" | "step";
  schedule_factor: number | null;
  schedule_every: number | null;
  schedule_unit: "steps" | "epochs" | null;
  warmup_steps: number;
  reflector_lr: number;
  singular_lr: number | null;
  weight_decay: number;
  clip_norm: number | null;
  target: number | null;
  dtype: "float32" | "float64" | "bfloat16";
  recompute_every: number | null;
  seed: number;
  report_every: number | null;
  checkpoint_every: number | null;
  diagnose_every: number | null;
}

export interface TrialCheckpoints {
  trial_id: string;
  last: CheckpointView | null;
  best: CheckpointView | null;
}

export interface TrialCurve {
  number: number;
  points: ([number, number])[];
}

export interface TrialDiagnostics {
  number: number;
  trial_id: string;
  singular_values: SingularValues | null;
  gradient_norms: GradientNorms | null;
}

export interface TrialLikeness {
  first: string;
  second: string;
  likeness: "equal" | "equal to rounding" | "different" | "nothing in common";
  rounding: number;
  steps: number;
  only_first: number;
  only_second: number;
  metrics: (MetricLikenessView)[];
  settings: (SettingDifference)[];
  explanations: (string)[];
}

export interface TrialMetrics {
  trial_id: string;
  keys: (string)[];
  points: (MetricsPoint)[];
}

export interface TrialPage {
  trials: (TrialView)[];
  next_cursor: string | null;
}

export interface TrialView {
  id: string;
  sweep_id: string;
  number: number;
  params: Record<string, any>;
  state: "waiting" | "running" | "succeeded" | "pruned" | "failed" | "cancelled";
  wanted: string | null;
  step: number;
  added_steps: number;
  objective: number | null;
  best_step: number | null;
  pack_id: string | null;
  reason: string | null;
  waiting_for: string | null;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
  links?: Record<string, string>;
}

export interface Ucr {
  facts: Record<string, DatasetInfo>;
  name: "ucr";
  dataset: string;
  width: number | null;
  normalize: boolean;
  missing: "refuse" | "interpolate";
  validation: number;
  split_seed: number;
}

export interface UnreadableData {
  source: string;
  problem: string;
}

export interface Values {
  when: Record<string, (boolean | number | string)[]> | null;
  values: (boolean | number | string)[];
}

export interface WarmStart {
  sweep: string | (string)[];
  results: (PriorResult)[];
  left_out: number;
  differences: (string)[];
}

export interface WhoAmI {
  owner: string;
  scope: "read" | "submit" | "admin";
  token_id: string | null;
  expires_at: string | null;
}
