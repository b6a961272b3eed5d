"""From what somebody runs today to a plan: Megatron-LM, torchtitan, DeepSpeed, Accelerate."""
