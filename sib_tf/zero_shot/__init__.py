"""The paper's two experiments without a support set: lines that turn, and a domain without labels."""
