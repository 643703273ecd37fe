"""Every family of models that can be converted: one file each, one line here."""

from conversion.naming.base import Family
from conversion.naming.bert import BERT
from conversion.naming.deepseek import DEEPSEEK
from conversion.naming.falcon import FALCON
from conversion.naming.gemma import GEMMA
from conversion.naming.gemma2 import GEMMA2
from conversion.naming.gemma3 import GEMMA3
from conversion.naming.gpt2 import GPT2
from conversion.naming.gpt_neox import GPT_NEOX
from conversion.naming.gpt_oss import GPT_OSS
from conversion.naming.granite import GRANITE
from conversion.naming.granite_moe import GRANITE_MOE
from conversion.naming.llama import LLAMA
from conversion.naming.llama4 import LLAMA4
from conversion.naming.mixtral import MIXTRAL
from conversion.naming.nomic_bert import NOMIC_BERT
from conversion.naming.olmo import OLMO
from conversion.naming.olmo2 import OLMO2
from conversion.naming.olmoe import OLMOE
from conversion.naming.phi3 import PHI3
from conversion.naming.qwen2 import QWEN2
from conversion.naming.qwen3 import QWEN3
from conversion.naming.qwen_moe import QWEN2_MOE, QWEN3_MOE
from conversion.naming.smollm3 import SMOLLM3
from conversion.naming.stablelm import STABLELM
from conversion.naming.xlm_roberta import XLM_ROBERTA

FAMILIES: tuple[Family, ...] = (
    LLAMA,
    LLAMA4,
    MIXTRAL,
    QWEN2,
    QWEN2_MOE,
    QWEN3,
    QWEN3_MOE,
    GRANITE,
    GRANITE_MOE,
    SMOLLM3,
    OLMO,
    OLMO2,
    OLMOE,
    STABLELM,
    GEMMA,
    GEMMA2,
    GEMMA3,
    PHI3,
    GPT_OSS,
    DEEPSEEK,
    GPT2,
    GPT_NEOX,
    FALCON,
    BERT,
    NOMIC_BERT,
    XLM_ROBERTA,
)

BY_ARCHITECTURE = {name: family for family in FAMILIES for name in family.architectures}
